package weir.bench;

/** The event stream that every workload reads: a pure function of the event's number, bit for bit the one Weir reads. */
final class Events {
    static final long GAMMA = 0x9E3779B97F4A7C15L;
    static final long SEED_EVENTS = 20240601L;
    static final long SEED_KEYS = 777L;
    static final long BASE_TS = 1_700_000_000_000L;
    static final int USERS = 100_000;
    static final int ITEMS = 10_000;
    static final String[] TYPES = {"view", "click", "like", "purchase"};

    private Events() {}

    static long mix64(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** The (j + 1)-th output of splitmix64(seed). */
    static long draw(long seed, long j) {
        return mix64(seed + (j + 1) * GAMMA);
    }

    /** High half of the product of r, taken as unsigned, and b, which is not negative. */
    static long mulhi(long r, long b) {
        return Math.multiplyHigh(r, b) + ((r >> 63) & b);
    }

    static long valueKey(long n, long keys) {
        return n < keys ? n : mulhi(draw(SEED_KEYS, n), keys);
    }

    static int fnv1a32(String text) {
        int hash = 0x811C9DC5;
        for (int i = 0; i < text.length(); i++) {
            hash = (hash ^ text.charAt(i)) * 0x01000193;
        }
        return hash;
    }

    static long fnv1a64(String text) {
        long hash = 0xCBF29CE484222325L;
        for (int i = 0; i < text.length(); i++) {
            hash = (hash ^ text.charAt(i)) * 0x100000001B3L;
        }
        return hash;
    }

    /** Rank k of N has weight floor(2^40 / k); rank 0 is the most frequent. */
    private static final class Zipf {
        private static final int GUIDE_BITS = 16;
        private final long[] cdf;
        private final int[] guide = new int[(1 << GUIDE_BITS) + 1];

        Zipf(int ranks) {
            cdf = new long[ranks];
            long sum = 0;
            for (int k = 1; k <= ranks; k++) {
                sum += (1L << 40) / k;
                cdf[k - 1] = sum;
            }
            // The rank grows with the draw, so its first bits bound the binary search.
            for (int g = 0; g < 1 << GUIDE_BITS; g++) {
                guide[g] = search(mulhi((long) g << (64 - GUIDE_BITS), sum), 0, ranks - 1);
            }
            guide[1 << GUIDE_BITS] = ranks - 1;
        }

        int rank(long r) {
            int g = (int) (r >>> (64 - GUIDE_BITS));
            return search(mulhi(r, cdf[cdf.length - 1]), guide[g], guide[g + 1]);
        }

        private int search(long x, int low, int high) {
            while (low < high) {
                int mid = (low + high) >>> 1;
                if (cdf[mid] > x) {
                    high = mid;
                } else {
                    low = mid + 1;
                }
            }
            return low;
        }
    }

    /** The tables are built when the first event is asked for: `valuestate` does without. */
    private static final class Tables {
        static final Zipf USER = new Zipf(USERS);
        static final Zipf ITEM = new Zipf(ITEMS);
        static final String[] USER_IDS = names("u", USERS);
        static final String[] SESSION_IDS = names("s", USERS);
        static final String[] ITEM_IDS = names("i", ITEMS);

        private static String[] names(String prefix, int count) {
            String[] names = new String[count];
            for (int i = 0; i < count; i++) {
                names[i] = prefix + i;
            }
            return names;
        }
    }

    /** Makes `into` the event number n; nothing is allocated, so the source does not stand in the way. */
    static Event fill(Event into, long n) {
        int user = Tables.USER.rank(draw(SEED_EVENTS, 4 * n));
        int item = Tables.ITEM.rank(draw(SEED_EVENTS, 4 * n + 1));
        long t = mulhi(draw(SEED_EVENTS, 4 * n + 2), 100);
        long d = draw(SEED_EVENTS, 4 * n + 3);
        into.userId = Tables.USER_IDS[user];
        into.itemId = Tables.ITEM_IDS[item];
        into.eventType = TYPES[t < 70 ? 0 : t < 90 ? 1 : t < 97 ? 2 : 3];
        into.timestamp = BASE_TS + n - ((d & 7) == 0 ? (d >>> 8) % 5000 : 0);
        into.sessionId = Tables.SESSION_IDS[user];
        return into;
    }

    static int typeIndex(String type) {
        switch (type) {
            case "view":
                return 0;
            case "click":
                return 1;
            case "like":
                return 2;
            case "purchase":
                return 3;
            default:
                throw new IllegalArgumentException("unknown event type " + type);
        }
    }

    /** Compares the generator with the check values of the contract. */
    static void selfTest() {
        String[] first = {
            "u0,i277,view,1700000000000,s0", "u0,i1,view,1700000000001,s0", "u13240,i6,click,1700000000002,s13240",
            "u6677,i1,like,1700000000003,s6677", "u32735,i4,view,1700000000004,s32735", "u50,i7827,view,1700000000005,s50",
            "u48340,i13,view,1700000000006,s48340", "u0,i48,view,1699999999457,s0"};
        Event event = new Event();
        long sum = 0;
        long keys = 0;
        for (int n = 0; n < 1_000_000; n++) {
            String line = fill(event, n).toString();
            if (n < first.length) {
                expect("event " + n, first[n], line);
            }
            sum += mix64(fnv1a64(line) + n);
            keys += mulhi(draw(SEED_KEYS, n), 1_000_000);
        }
        expect("sum of events", "12100326706769019224", Long.toUnsignedString(sum));
        expect("sum of keys", "500103296780", Long.toString(keys));
    }

    private static void expect(String what, String expected, String found) {
        if (!expected.equals(found)) {
            throw new IllegalStateException(what + ": expected " + expected + ", found " + found);
        }
    }
}
