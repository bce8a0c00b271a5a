package weir.bench;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** What the subtasks of the job count. Static, since the whole cluster runs in this process. */
final class Meter {
    static final Sum EVENTS = new Sum();
    static final Sum OUTPUTS = new Sum();
    static final Sum CHECKSUM = new Sum();
    static final Sum PAIRS = new Sum();
    static final AtomicInteger OPENED = new AtomicInteger();
    static final Latencies LATENCIES = new Latencies();
    /** Whether the warm-up is over. */
    static volatile boolean measuring;
    private static final AtomicLong START = new AtomicLong();

    private Meter() {}

    /** The instant event n is due at, as System.nanoTime gives it; the first call starts the schedule. */
    static long scheduled(long n, long rate) {
        long start = START.get();
        if (start == 0) {
            START.compareAndSet(0, System.nanoTime());
            start = START.get();
        }
        return start + n / rate * 1_000_000_000L + n % rate * 1_000_000_000L / rate;
    }

    /** A sum over counters of which each has one writer, so that counting is a plain store. */
    static final class Sum {
        private final List<Counter> counters = new CopyOnWriteArrayList<>();

        Counter counter() {
            Counter counter = new Counter();
            counters.add(counter);
            return counter;
        }

        /** Wraps around, as checksums do. */
        long get() {
            long sum = 0;
            for (Counter counter : counters) {
                sum += counter.get();
            }
            return sum;
        }

        /** Counters of a job that has ended count no more. */
        void clear() {
            counters.clear();
        }
    }

    static final class Counter extends AtomicLong {
        /** Keeps two counters off one cache line. */
        volatile long p1, p2, p3, p4, p5, p6, p7;

        void add(long amount) {
            lazySet(getPlain() + amount);
        }
    }

    /** Histograms of nanoseconds, exact to 1/64; one a sink subtask. */
    static final class Latencies {
        private static final int SUB_BITS = 6;
        private final List<long[]> histograms = new CopyOnWriteArrayList<>();

        long[] histogram() {
            long[] histogram = new long[64 << SUB_BITS];
            histograms.add(histogram);
            return histogram;
        }

        static void record(long[] histogram, long nanos) {
            long value = Math.max(nanos, 1 << SUB_BITS);
            int shift = 63 - Long.numberOfLeadingZeros(value) - SUB_BITS;
            histogram[(shift << SUB_BITS) + (int) (value >>> shift) - (1 << SUB_BITS)]++;
        }

        /** In microseconds; null when nothing was recorded. To be read when the job has ended. */
        Double quantile(double q) {
            long total = 0;
            for (long[] histogram : histograms) {
                for (long count : histogram) {
                    total += count;
                }
            }
            long left = (long) Math.ceil(q * total);
            for (int bucket = 0; total > 0 && bucket < 64 << SUB_BITS; bucket++) {
                for (long[] histogram : histograms) {
                    left -= histogram[bucket];
                }
                if (left <= 0) {
                    int shift = bucket >>> SUB_BITS;
                    long mantissa = (bucket & ((1 << SUB_BITS) - 1)) + (1 << SUB_BITS);
                    return (mantissa + 0.5) * Math.scalb(1.0, shift) / 1000;
                }
            }
            return null;
        }
    }
}
