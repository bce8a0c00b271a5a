package weir.bench;

/** A user's action. A Flink POJO: public fields and a constructor without arguments. */
public class Event {
    public String userId;
    public String itemId;
    public String eventType;
    public long timestamp;
    public String sessionId;

    @Override
    public String toString() {
        return userId + ',' + itemId + ',' + eventType + ',' + timestamp + ',' + sessionId;
    }
}
