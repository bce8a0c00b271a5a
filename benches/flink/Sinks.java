package weir.bench;

import java.io.Serializable;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.streaming.api.functions.sink.RichSinkFunction;
import org.apache.flink.streaming.api.functions.sink.SinkFunction;

/**
 * Counts what arrives; sums up its checksum, or notes its latency, where that is asked for. The deprecated interface of 1.20 is
 * the one without committers behind it: what is measured is the job, not a sink.
 */
@SuppressWarnings("deprecation")
final class Sinks {
    interface Check<T> extends Serializable {
        long of(T output);
    }

    private Sinks() {}

    static <T> SinkFunction<T> of(Options options, Check<T> check) {
        return new Counting<>(options.checksum ? check : null, options.latencies());
    }

    /** For outputs that the contract has no checksum of. */
    static <T> SinkFunction<T> unchecked(Options options) {
        return new Counting<>(null, options.latencies());
    }

    private static final class Counting<T> extends RichSinkFunction<T> {
        private final Check<T> check;
        private final boolean timed;
        private transient Meter.Counter outputs;
        private transient Meter.Counter checksum;
        private transient long[] latencies;

        Counting(Check<T> check, boolean timed) {
            this.check = check;
            this.timed = timed;
        }

        @Override
        public void open(OpenContext context) {
            outputs = Meter.OUTPUTS.counter();
            checksum = Meter.CHECKSUM.counter();
            latencies = timed ? Meter.LATENCIES.histogram() : null;
        }

        @Override
        public void invoke(T output, Context context) {
            outputs.add(1);
            if (check != null) {
                checksum.add(check.of(output));
            }
            if (timed && Meter.measuring && context.timestamp() != null) {
                Meter.Latencies.record(latencies, System.nanoTime() - context.timestamp());
            }
        }
    }
}
