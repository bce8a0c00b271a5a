package weir.bench;

import java.io.IOException;
import org.apache.flink.api.common.ExecutionConfig;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Describes {@link Event} by a serializer written by hand: no flags for null, ids as length and ASCII, the type as a byte. */
final class EventTypeInfo extends TypeInformation<Event> {
    @Override
    public boolean isBasicType() {
        return false;
    }

    @Override
    public boolean isTupleType() {
        return false;
    }

    @Override
    public int getArity() {
        return 1;
    }

    @Override
    public int getTotalFields() {
        return 1;
    }

    @Override
    public Class<Event> getTypeClass() {
        return Event.class;
    }

    @Override
    public boolean isKeyType() {
        return false;
    }

    @Override
    public TypeSerializer<Event> createSerializer(SerializerConfig config) {
        return Serializer.INSTANCE;
    }

    @Override
    public TypeSerializer<Event> createSerializer(ExecutionConfig config) {
        return Serializer.INSTANCE;
    }

    @Override
    public String toString() {
        return "Event";
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof EventTypeInfo;
    }

    @Override
    public int hashCode() {
        return EventTypeInfo.class.hashCode();
    }

    @Override
    public boolean canEqual(Object other) {
        return other instanceof EventTypeInfo;
    }

    public static final class Serializer extends TypeSerializerSingleton<Event> {
        static final Serializer INSTANCE = new Serializer();
        private static final int LONGEST_ID = 127;

        /** Restores this serializer from a snapshot. */
        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Event> {
            public Snapshot() {
                super(() -> INSTANCE);
            }
        }

        /** For ids; a stream's serializers run on its own thread. */
        private static final ThreadLocal<byte[]> BUFFER = ThreadLocal.withInitial(() -> new byte[LONGEST_ID]);

        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public Event createInstance() {
            return new Event();
        }

        @Override
        public Event copy(Event from) {
            return copy(from, new Event());
        }

        @Override
        public Event copy(Event from, Event reuse) {
            reuse.userId = from.userId;
            reuse.itemId = from.itemId;
            reuse.eventType = from.eventType;
            reuse.timestamp = from.timestamp;
            reuse.sessionId = from.sessionId;
            return reuse;
        }

        @Override
        public int getLength() {
            return -1;
        }

        @Override
        public void serialize(Event event, DataOutputView target) throws IOException {
            byte[] buffer = BUFFER.get();
            writeId(event.userId, buffer, target);
            writeId(event.itemId, buffer, target);
            writeId(event.sessionId, buffer, target);
            target.writeByte(Events.typeIndex(event.eventType));
            target.writeLong(event.timestamp);
        }

        @Override
        public Event deserialize(DataInputView source) throws IOException {
            return deserialize(new Event(), source);
        }

        @Override
        public Event deserialize(Event reuse, DataInputView source) throws IOException {
            byte[] buffer = BUFFER.get();
            reuse.userId = readId(buffer, source);
            reuse.itemId = readId(buffer, source);
            reuse.sessionId = readId(buffer, source);
            reuse.eventType = Events.TYPES[source.readByte()];
            reuse.timestamp = source.readLong();
            return reuse;
        }

        @Override
        public void copy(DataInputView source, DataOutputView target) throws IOException {
            serialize(deserialize(source), target);
        }

        @Override
        public TypeSerializerSnapshot<Event> snapshotConfiguration() {
            return new Snapshot();
        }

        @SuppressWarnings("deprecation") // The one way from a string to bytes that neither decodes nor allocates.
        private static void writeId(String id, byte[] buffer, DataOutputView target) throws IOException {
            int length = id.length();
            if (length > LONGEST_ID) {
                throw new IOException("id of more than " + LONGEST_ID + " characters");
            }
            id.getBytes(0, length, buffer, 0);
            target.writeByte(length);
            target.write(buffer, 0, length);
        }

        @SuppressWarnings("deprecation")
        private static String readId(byte[] buffer, DataInputView source) throws IOException {
            int length = source.readByte();
            source.readFully(buffer, 0, length);
            return new String(buffer, 0, 0, length);
        }
    }
}
