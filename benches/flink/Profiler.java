package weir.bench;

import java.lang.reflect.Type;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInfoFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** `profiler`, `profiler_tuned` and `latency`: a profile per user, emitted at every event. */
final class Profiler {
    private static final int CATEGORIES = 5;
    private static final double[] WEIGHTS = {0.1, 0.3, 0.5, 1.0};

    private Profiler() {}

    private static int category(String itemId) {
        return Integer.remainderUnsigned(Events.fnv1a32(itemId), CATEGORIES);
    }

    private static double blend(double score, int type) {
        return 0.9 * score + 0.1 * WEIGHTS[type];
    }

    private static long check(String userId, long total, long bits) {
        return Events.mix64(Events.fnv1a64(userId) + total + bits);
    }

    /** As one writes it first: a POJO with a map. */
    public static class Profile {
        @TypeInfo(InterestsInfo.class)
        public Map<Integer, Double> interests = new HashMap<>();

        public long views;
        public long clicks;
        public long likes;
        public long purchases;
        public long total;
        public long lastTimestamp;
    }

    /** Without it Flink 1.20 would take Kryo for the map. */
    public static class InterestsInfo extends TypeInfoFactory<Map<Integer, Double>> {
        @Override
        public TypeInformation<Map<Integer, Double>> createTypeInfo(Type type, Map<String, TypeInformation<?>> parameters) {
            return Types.MAP(Types.INT, Types.DOUBLE);
        }
    }

    static void plain(DataStream<Event> events, Options options) {
        TypeInformation<Profile> profile = TypeInformation.of(Profile.class);
        events.keyBy(event -> event.userId, Types.STRING)
                .process(new Plain(profile))
                .returns(Types.TUPLE(Types.STRING, profile))
                .addSink(Sinks.of(options, output -> {
                    long bits = 0;
                    for (double score : output.f1.interests.values()) {
                        bits += Double.doubleToRawLongBits(score);
                    }
                    return check(output.f0, output.f1.total, bits);
                }));
    }

    private static final class Plain extends KeyedProcessFunction<String, Event, Tuple2<String, Profile>> {
        private final TypeInformation<Profile> type;
        private transient ValueState<Profile> state;
        private transient Meter.Counter counter;
        private transient Tuple2<String, Profile> output;

        Plain(TypeInformation<Profile> type) {
            this.type = type;
        }

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("profile", type));
            counter = Meter.EVENTS.counter();
            output = new Tuple2<>();
        }

        @Override
        public void processElement(Event event, Context context, Collector<Tuple2<String, Profile>> out) throws Exception {
            Profile profile = state.value();
            if (profile == null) {
                profile = new Profile();
            }
            int type = Events.typeIndex(event.eventType);
            int category = category(event.itemId);
            Double score = profile.interests.get(category);
            profile.interests.put(category, blend(score == null ? 0.0 : score, type));
            switch (type) {
                case 0:
                    profile.views++;
                    break;
                case 1:
                    profile.clicks++;
                    break;
                case 2:
                    profile.likes++;
                    break;
                default:
                    profile.purchases++;
                    break;
            }
            profile.total++;
            profile.lastTimestamp = event.timestamp;
            state.update(profile);
            counter.add(1);
            output.f0 = event.userId;
            output.f1 = profile;
            out.collect(output);
        }
    }

    /** As an expert tunes it: the events' own serializer, and primitive arrays for the state. */
    static void tuned(DataStream<Event> events, Options options) {
        events.keyBy(event -> event.userId, Types.STRING)
                .process(new Tuned())
                .returns(Types.TUPLE(Types.STRING, Tuned.SCORES, Tuned.COUNTERS))
                .addSink(Sinks.of(options, output -> {
                    long bits = 0;
                    for (double score : output.f1) {
                        // A score that is there is above 0; 0 has no bits set.
                        bits += Double.doubleToRawLongBits(score);
                    }
                    return check(output.f0, output.f2[4], bits);
                }));
    }

    private static final class Tuned extends KeyedProcessFunction<String, Event, Tuple3<String, double[], long[]>> {
        static final TypeInformation<double[]> SCORES = TypeInformation.of(double[].class);
        /** By type, then in all, then the last timestamp. */
        static final TypeInformation<long[]> COUNTERS = TypeInformation.of(long[].class);

        private transient ValueState<Tuple2<double[], long[]>> state;
        private transient Meter.Counter counter;
        private transient Tuple3<String, double[], long[]> output;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("profile", Types.TUPLE(SCORES, COUNTERS)));
            counter = Meter.EVENTS.counter();
            output = new Tuple3<>();
        }

        @Override
        public void processElement(Event event, Context context, Collector<Tuple3<String, double[], long[]>> out)
                throws Exception {
            Tuple2<double[], long[]> profile = state.value();
            if (profile == null) {
                profile = Tuple2.of(new double[CATEGORIES], new long[6]);
            }
            int type = Events.typeIndex(event.eventType);
            int category = category(event.itemId);
            profile.f0[category] = blend(profile.f0[category], type);
            profile.f1[type]++;
            profile.f1[4]++;
            profile.f1[5] = event.timestamp;
            state.update(profile);
            counter.add(1);
            output.f0 = event.userId;
            output.f1 = profile.f0;
            output.f2 = profile.f1;
            out.collect(output);
        }
    }
}
