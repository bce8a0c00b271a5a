package weir.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** `itemcf`: item-to-item collaborative filtering by counts of users who had both items. */
final class ItemCf {
    private static final int HISTORY = 50;
    private static final int TOP = 20;
    private static final int RECOMMENDED = 10;

    private ItemCf() {}

    static void build(DataStream<Event> events, Options options) {
        events.keyBy(event -> event.userId, Types.STRING)
                .process(new Histories())
                .returns(TypeInformation.of(Message.class))
                .keyBy(message -> message.item, Types.STRING)
                .process(new Counts())
                .returns(TypeInformation.of(Recommendation.class))
                .addSink(Sinks.unchecked(options));
    }

    /** To an item: these others share a user with you. */
    public static class Message {
        public String item;
        /** Whom to recommend to; null in the message that only reports a pair. */
        public String user;

        public String[] others;
        /** Whether the pairs count: the user had not had both before. */
        public boolean isNew;
    }

    /** What a user is shown. */
    public static class Recommendation {
        public String user;
        public List<String> items = new ArrayList<>();
    }

    private static final class Histories extends KeyedProcessFunction<String, Event, Message> {
        private transient MapState<String, Long> history;
        private transient Meter.Counter counter;
        private transient Message message;

        @Override
        public void open(OpenContext context) {
            history = getRuntimeContext().getMapState(new MapStateDescriptor<>("history", Types.STRING, Types.LONG));
            counter = Meter.EVENTS.counter();
            message = new Message();
        }

        @Override
        public void processElement(Event event, Context context, Collector<Message> out) throws Exception {
            String[] others = new String[HISTORY];
            int size = 0;
            boolean isNew = true;
            String oldest = null;
            long oldestAt = Long.MAX_VALUE;
            for (Map.Entry<String, Long> entry : history.entries()) {
                String item = entry.getKey();
                if (item.equals(event.itemId)) {
                    isNew = false;
                    continue;
                }
                long at = entry.getValue();
                if (oldest == null || at < oldestAt || at == oldestAt && item.compareTo(oldest) < 0) {
                    oldest = item;
                    oldestAt = at;
                }
                others[size++] = item;
            }
            if (size < HISTORY) {
                others = Arrays.copyOf(others, size);
            }
            history.put(event.itemId, event.timestamp);
            if (isNew && size == HISTORY) {
                // Of the items that were there: the new one stays, however late its event is.
                history.remove(oldest);
            }
            send(out, event.itemId, event.userId, others, isNew);
            if (isNew) {
                String[] pair = {event.itemId};
                for (String other : others) {
                    send(out, other, null, pair, true);
                }
            }
            counter.add(1);
        }

        private void send(Collector<Message> out, String item, String user, String[] others, boolean isNew) {
            message.item = item;
            message.user = user;
            message.others = others;
            message.isNew = isNew;
            out.collect(message);
        }
    }

    /** The most frequent companions of an item, by falling count. */
    public static class TopItems {
        public String[] items = new String[TOP];
        public int[] counts = new int[TOP];
        public int size;

        /** Counts only grow, so an item that is not here can only enter when it is the one that grew. */
        boolean offer(String item, int count) {
            int at = 0;
            while (at < size && !items[at].equals(item)) {
                at++;
            }
            if (at == size) {
                if (size == TOP) {
                    if (counts[TOP - 1] >= count) {
                        return false;
                    }
                    at = TOP - 1;
                } else {
                    size++;
                }
            }
            while (at > 0 && counts[at - 1] < count) {
                items[at] = items[at - 1];
                counts[at] = counts[at - 1];
                at--;
            }
            items[at] = item;
            counts[at] = count;
            return true;
        }
    }

    private static final class Counts extends KeyedProcessFunction<String, Message, Recommendation> {
        private transient MapState<String, Integer> counts;
        private transient ValueState<TopItems> top;
        private transient Meter.Counter pairs;
        private transient Recommendation recommendation;
        private transient Set<String> had;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getMapState(new MapStateDescriptor<>("counts", Types.STRING, Types.INT));
            top = getRuntimeContext().getState(new ValueStateDescriptor<>("top", TypeInformation.of(TopItems.class)));
            pairs = Meter.PAIRS.counter();
            recommendation = new Recommendation();
            had = new HashSet<>();
        }

        @Override
        public void processElement(Message message, Context context, Collector<Recommendation> out) throws Exception {
            TopItems best = top.value();
            if (message.isNew && message.others.length > 0) {
                if (best == null) {
                    best = new TopItems();
                }
                boolean changed = false;
                for (String other : message.others) {
                    Integer before = counts.get(other);
                    int count = before == null ? 1 : before + 1;
                    counts.put(other, count);
                    changed |= best.offer(other, count);
                }
                if (changed) {
                    top.update(best);
                }
                pairs.add(message.others.length);
            }
            if (message.user == null) {
                return;
            }
            recommendation.user = message.user;
            recommendation.items.clear();
            had.clear();
            had.addAll(Arrays.asList(message.others));
            for (int i = 0; best != null && i < best.size && recommendation.items.size() < RECOMMENDED; i++) {
                if (!had.contains(best.items[i])) {
                    recommendation.items.add(best.items[i]);
                }
            }
            out.collect(recommendation);
        }
    }
}
