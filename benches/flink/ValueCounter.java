package weir.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** `valuestate`: one number per key, read, raised by one, written, emitted. */
final class ValueCounter {
    private ValueCounter() {}

    static void build(DataStream<Long> keys, Options options) {
        keys.keyBy(key -> key, Types.LONG)
                .process(new Counting())
                .returns(Types.LONG)
                .addSink(Sinks.unchecked(options));
    }

    private static final class Counting extends KeyedProcessFunction<Long, Long, Long> {
        private transient ValueState<Long> state;
        private transient Meter.Counter counter;

        @Override
        public void open(OpenContext context) {
            // The backend has made or restored its state before this is called.
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
            counter = Meter.EVENTS.counter();
            Meter.OPENED.incrementAndGet();
        }

        @Override
        public void processElement(Long key, Context context, Collector<Long> out) throws Exception {
            Long before = state.value();
            Long after = before == null ? 1L : before + 1;
            state.update(after);
            counter.add(1);
            out.collect(after);
        }
    }
}
