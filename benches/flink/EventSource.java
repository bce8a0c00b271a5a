package weir.bench;

import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * Numbers events 0, 1, 2, ...: subtask i of p emits i, i + p, i + 2p, ... It can be replayed from a checkpoint at the same
 * parallelism. The timestamp of a record is the instant it was due at ({@link Meter#scheduled}) when there is a rate.
 */
final class EventSource<T> implements Source<T, EventSource.Stride, BitSet> {
    /** Makes record number n. It may return the same object each time: the job runs with object reuse. */
    interface Generator<T> extends Serializable {
        T at(long n);
    }

    private static final int RECORDS_PER_POLL = 64;
    private final Generator<T> generator;
    private final long end;
    private final long rate;

    /** `end` is exclusive, Long.MAX_VALUE for no end; `rate` is in records a second over all subtasks, 0 for no limit. */
    EventSource(Generator<T> generator, long end, long rate) {
        this.generator = generator;
        this.end = end;
        this.rate = rate;
    }

    static final class Stride implements SourceSplit {
        private final int subtask;
        private final int step;
        private long next;

        Stride(int subtask, int step, long next) {
            this.subtask = subtask;
            this.step = step;
            this.next = next;
        }

        @Override
        public String splitId() {
            return Integer.toString(subtask);
        }
    }

    @Override
    public Boundedness getBoundedness() {
        return end == Long.MAX_VALUE ? Boundedness.CONTINUOUS_UNBOUNDED : Boundedness.BOUNDED;
    }

    @Override
    public SourceReader<T, Stride> createReader(SourceReaderContext context) {
        return new Reader();
    }

    @Override
    public SplitEnumerator<Stride, BitSet> createEnumerator(SplitEnumeratorContext<Stride> context) {
        return new Enumerator(context, new BitSet());
    }

    @Override
    public SplitEnumerator<Stride, BitSet> restoreEnumerator(SplitEnumeratorContext<Stride> context, BitSet assigned) {
        return new Enumerator(context, assigned);
    }

    @Override
    public SimpleVersionedSerializer<Stride> getSplitSerializer() {
        return new StrideSerializer();
    }

    @Override
    public SimpleVersionedSerializer<BitSet> getEnumeratorCheckpointSerializer() {
        return new BitSetSerializer();
    }

    private final class Reader implements SourceReader<T, Stride> {
        private final CompletableFuture<Void> assigned = new CompletableFuture<>();
        private Stride stride;

        @Override
        public void start() {}

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) {
            if (stride == null) {
                return InputStatus.NOTHING_AVAILABLE;
            }
            for (int i = 0; i < RECORDS_PER_POLL; i++) {
                if (stride.next >= end) {
                    return InputStatus.END_OF_INPUT;
                }
                long due = stride.next;
                if (rate > 0) {
                    due = Meter.scheduled(stride.next, rate);
                    long early = due - System.nanoTime();
                    if (early > 0) {
                        // Short, so that barriers get their turn.
                        LockSupport.parkNanos(Math.min(early, 1_000_000));
                        return InputStatus.MORE_AVAILABLE;
                    }
                }
                output.collect(generator.at(stride.next), due);
                stride.next += stride.step;
            }
            return InputStatus.MORE_AVAILABLE;
        }

        @Override
        public List<Stride> snapshotState(long checkpointId) {
            return stride == null
                    ? Collections.emptyList()
                    : Collections.singletonList(new Stride(stride.subtask, stride.step, stride.next));
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return assigned;
        }

        @Override
        public void addSplits(List<Stride> splits) {
            if (stride != null || splits.size() != 1) {
                throw new IllegalStateException("a reader takes one split: restore at the parallelism of the checkpoint");
            }
            stride = splits.get(0);
            assigned.complete(null);
        }

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public void close() {}
    }

    private static final class Enumerator implements SplitEnumerator<Stride, BitSet> {
        private final SplitEnumeratorContext<Stride> context;
        private final BitSet assigned;

        Enumerator(SplitEnumeratorContext<Stride> context, BitSet assigned) {
            this.context = context;
            this.assigned = assigned;
        }

        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int subtask, String host) {}

        @Override
        public void addSplitsBack(List<Stride> splits, int subtask) {
            assigned.clear(subtask);
        }

        @Override
        public void addReader(int subtask) {
            if (!assigned.get(subtask)) {
                assigned.set(subtask);
                context.assignSplit(new Stride(subtask, context.currentParallelism(), subtask), subtask);
            }
        }

        @Override
        public BitSet snapshotState(long checkpointId) {
            return (BitSet) assigned.clone();
        }

        @Override
        public void close() {}
    }

    private static final class StrideSerializer implements SimpleVersionedSerializer<Stride> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Stride stride) {
            return ByteBuffer.allocate(16).putInt(stride.subtask).putInt(stride.step).putLong(stride.next).array();
        }

        @Override
        public Stride deserialize(int version, byte[] bytes) throws IOException {
            if (version != 1 || bytes.length != 16) {
                throw new IOException("not a split of this source");
            }
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            return new Stride(buffer.getInt(), buffer.getInt(), buffer.getLong());
        }
    }

    private static final class BitSetSerializer implements SimpleVersionedSerializer<BitSet> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(BitSet set) {
            return set.toByteArray();
        }

        @Override
        public BitSet deserialize(int version, byte[] bytes) {
            return BitSet.valueOf(bytes);
        }
    }
}
