package weir.bench;

import java.time.Duration;
import java.util.Collection;
import org.apache.flink.api.common.ExecutionConfig;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.WindowAssigner;
import org.apache.flink.streaming.api.windowing.triggers.Trigger;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/** `multiwindow`, `multiwindow_chained`, `sliding_heavy` and `session`: count, sum, least and greatest value by key and window. */
final class Windows {
    private static final int[] VALUES = {1, 3, 5, 10};
    private static final TypeInformation<Tuple2<String, Integer>> VALUE = Types.TUPLE(Types.STRING, Types.INT);
    private static final KeySelector<Tuple2<String, Integer>, String> KEY = value -> value.f0;

    private Windows() {}

    /** How many window operators see each event. */
    static int operators(String workload) {
        return workload.startsWith("multiwindow") ? 3 : 1;
    }

    static void multiwindow(DataStream<Event> events, Options options) {
        DataStream<Tuple2<String, Integer>> values = byItem(events);
        // One exchange each, as Flink has it when one writes three windows.
        aggregate(values.keyBy(KEY, Types.STRING), minute(), options);
        aggregate(values.keyBy(KEY, Types.STRING), fiveMinutes(), options);
        aggregate(values.keyBy(KEY, Types.STRING), slidingMinute(), options);
    }

    static void chained(DataStream<Event> events, Options options) {
        DataStream<Tuple2<String, Integer>> exchanged =
                byItem(events).keyBy(KEY, Types.STRING).process(new Forward()).returns(VALUE);
        aggregate(DataStreamUtils.reinterpretAsKeyedStream(exchanged, KEY, Types.STRING), minute(), options);
        aggregate(DataStreamUtils.reinterpretAsKeyedStream(exchanged, KEY, Types.STRING), fiveMinutes(), options);
        aggregate(DataStreamUtils.reinterpretAsKeyedStream(exchanged, KEY, Types.STRING), slidingMinute(), options);
    }

    static void slidingHeavy(DataStream<Event> events, Options options) {
        aggregate(
                byItem(events).keyBy(KEY, Types.STRING),
                new Counted(SlidingEventTimeWindows.of(Duration.ofMinutes(10), Duration.ofSeconds(1))),
                options);
    }

    static void session(DataStream<Event> events, Options options) {
        DataStream<Tuple2<String, Integer>> values =
                events.map(event -> Tuple2.of(event.userId, value(event))).returns(VALUE);
        aggregate(values.keyBy(KEY, Types.STRING), new CountedSessions(Duration.ofMinutes(30)), options);
    }

    private static WindowAssigner<Object, TimeWindow> minute() {
        return new Counted(TumblingEventTimeWindows.of(Duration.ofMinutes(1)));
    }

    private static WindowAssigner<Object, TimeWindow> fiveMinutes() {
        return new Counted(TumblingEventTimeWindows.of(Duration.ofMinutes(5)));
    }

    private static WindowAssigner<Object, TimeWindow> slidingMinute() {
        return new Counted(SlidingEventTimeWindows.of(Duration.ofMinutes(1), Duration.ofSeconds(30)));
    }

    private static int value(Event event) {
        return VALUES[Events.typeIndex(event.eventType)];
    }

    private static DataStream<Tuple2<String, Integer>> byItem(DataStream<Event> events) {
        return events.map(event -> Tuple2.of(event.itemId, value(event))).returns(VALUE);
    }

    private static void aggregate(
            KeyedStream<Tuple2<String, Integer>, String> values,
            WindowAssigner<Object, TimeWindow> assigner,
            Options options) {
        TypeInformation<Stats> stats = TypeInformation.of(Stats.class);
        values.window(assigner)
                .aggregate(new Statistics(), new Emit(), stats, stats, TypeInformation.of(Result.class))
                .addSink(Sinks.of(options, result -> Events.mix64(Events.fnv1a64(result.key)
                        + result.start * Events.GAMMA
                        + (result.end - result.start) * 31
                        + result.count * 1_000_003
                        + result.sum * 10_007
                        + result.min * 101
                        + result.max * 7)));
    }

    /** The accumulator. */
    public static class Stats {
        public long count;
        public long sum;
        public int min = Integer.MAX_VALUE;
        public int max = Integer.MIN_VALUE;
    }

    /** What a window gives when it fires. */
    public static class Result {
        public String key;
        public long start;
        public long end;
        public long count;
        public long sum;
        public int min;
        public int max;
    }

    private static final class Statistics implements AggregateFunction<Tuple2<String, Integer>, Stats, Stats> {
        @Override
        public Stats createAccumulator() {
            return new Stats();
        }

        @Override
        public Stats add(Tuple2<String, Integer> value, Stats stats) {
            int v = value.f1;
            stats.count++;
            stats.sum += v;
            stats.min = Math.min(stats.min, v);
            stats.max = Math.max(stats.max, v);
            return stats;
        }

        @Override
        public Stats getResult(Stats stats) {
            return stats;
        }

        @Override
        public Stats merge(Stats a, Stats b) {
            a.count += b.count;
            a.sum += b.sum;
            a.min = Math.min(a.min, b.min);
            a.max = Math.max(a.max, b.max);
            return a;
        }
    }

    private static final class Emit extends ProcessWindowFunction<Stats, Result, String, TimeWindow> {
        private transient Result result;

        @Override
        public void open(OpenContext context) {
            result = new Result();
        }

        @Override
        public void process(String key, Context context, Iterable<Stats> elements, Collector<Result> out) {
            Stats stats = elements.iterator().next();
            result.key = key;
            result.start = context.window().getStart();
            result.end = context.window().getEnd();
            result.count = stats.count;
            result.sum = stats.sum;
            result.min = stats.min;
            result.max = stats.max;
            out.collect(result);
        }
    }

    private static final class Forward
            extends KeyedProcessFunction<String, Tuple2<String, Integer>, Tuple2<String, Integer>> {
        @Override
        public void processElement(
                Tuple2<String, Integer> value, Context context, Collector<Tuple2<String, Integer>> out) {
            out.collect(value);
        }
    }

    /** Counts each element as it reaches the window operator, and leaves the rest to Flink's assigner. */
    private static final class Counted extends WindowAssigner<Object, TimeWindow> {
        private final WindowAssigner<Object, TimeWindow> inner;
        private transient Meter.Counter counter;

        Counted(WindowAssigner<Object, TimeWindow> inner) {
            this.inner = inner;
        }

        @Override
        public Collection<TimeWindow> assignWindows(Object element, long timestamp, WindowAssignerContext context) {
            if (counter == null) {
                counter = Meter.EVENTS.counter();
            }
            counter.add(1);
            return inner.assignWindows(element, timestamp, context);
        }

        @Override
        public Trigger<Object, TimeWindow> getDefaultTrigger() {
            return inner.getDefaultTrigger();
        }

        @Override
        @SuppressWarnings("deprecation") // Abstract in 1.20 all the same.
        public Trigger<Object, TimeWindow> getDefaultTrigger(StreamExecutionEnvironment environment) {
            return inner.getDefaultTrigger(environment);
        }

        @Override
        public TypeSerializer<TimeWindow> getWindowSerializer(ExecutionConfig config) {
            return inner.getWindowSerializer(config);
        }

        @Override
        public boolean isEventTime() {
            return inner.isEventTime();
        }
    }

    private static final class CountedSessions extends EventTimeSessionWindows {
        private transient Meter.Counter counter;

        CountedSessions(Duration gap) {
            super(gap.toMillis());
        }

        @Override
        public Collection<TimeWindow> assignWindows(Object element, long timestamp, WindowAssignerContext context) {
            if (counter == null) {
                counter = Meter.EVENTS.counter();
            }
            counter.add(1);
            return super.assignWindows(element, timestamp, context);
        }
    }
}
