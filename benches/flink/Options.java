package weir.bench;

import java.io.Serializable;
import java.util.List;

/** The command line: Weir's, with Flink's backends. */
final class Options implements Serializable {
    static final List<String> WORKLOADS = List.of(
            "profiler", "profiler_tuned", "multiwindow", "multiwindow_chained", "sliding_heavy", "session", "itemcf",
            "valuestate", "latency");
    static final String USAGE = "usage: scripts/flink-workloads.sh NAME [--backend heap|rocksdb] [--parallelism P] [--checkpoint-ms MS]\n"
            + "           [--events N | --seconds S] [--warmup-seconds W] [--keys K] [--rate R] [--checksum]\n"
            + "           [--mode run|restore] [--buffer-timeout-ms MS] [--managed-mb MB]\n"
            + "NAME: " + String.join(", ", WORKLOADS) + "\n";

    enum Backend {
        HEAP,
        ROCKSDB
    }

    enum Mode {
        RUN,
        RESTORE
    }

    String workload;
    Backend backend = Backend.HEAP;
    int parallelism = 2;
    /** 0: no checkpoints. */
    long checkpointMs;
    /** 0: by time. */
    long events;
    double seconds = 10;
    double warmupSeconds;
    long keys = 1_000_000;
    /** 0: as fast as it goes. */
    long rate;
    boolean checksum;
    Mode mode = Mode.RUN;
    long bufferTimeoutMs = 100;
    int managedMb = 512;
    /** Holds checkpoints and RocksDB's files; made for the run, and deleted after it, by the script. */
    String dataDir;

    static Options parse(String[] args) {
        Options options = new Options();
        boolean warmup = false;
        boolean byTime = false;
        boolean bufferTimeout = false;
        for (int i = 0; i < args.length; i++) {
            String name = args[i];
            switch (name) {
                case "--backend":
                    options.backend = choice(Backend.class, name, value(args, ++i));
                    break;
                case "--parallelism":
                    options.parallelism = (int) number(name, value(args, ++i), 1, 128);
                    break;
                case "--checkpoint-ms":
                    options.checkpointMs = number(name, value(args, ++i), 10, Integer.MAX_VALUE);
                    break;
                case "--events":
                    options.events = number(name, value(args, ++i), 1, Long.MAX_VALUE - 1);
                    break;
                case "--seconds":
                    options.seconds = number(name, value(args, ++i), 1, 1_000_000);
                    byTime = true;
                    break;
                case "--warmup-seconds":
                    options.warmupSeconds = number(name, value(args, ++i), 0, 1_000_000);
                    warmup = true;
                    break;
                case "--keys":
                    options.keys = number(name, value(args, ++i), 1, 1L << 40);
                    break;
                case "--rate":
                    options.rate = number(name, value(args, ++i), 1, 1_000_000_000);
                    break;
                case "--checksum":
                    options.checksum = true;
                    break;
                case "--mode":
                    options.mode = choice(Mode.class, name, value(args, ++i));
                    break;
                case "--buffer-timeout-ms":
                    options.bufferTimeoutMs = number(name, value(args, ++i), 0, 60_000);
                    bufferTimeout = true;
                    break;
                case "--managed-mb":
                    options.managedMb = (int) number(name, value(args, ++i), 64, 1 << 20);
                    break;
                case "--data-dir":
                    options.dataDir = value(args, ++i);
                    break;
                default:
                    if (options.workload != null || !WORKLOADS.contains(name)) {
                        throw new IllegalArgumentException("unknown workload or option " + name);
                    }
                    options.workload = name;
            }
        }
        if (options.workload == null) {
            throw new IllegalArgumentException("no workload named");
        }
        if (options.dataDir == null) {
            throw new IllegalArgumentException("--data-dir is missing");
        }
        if (byTime && options.events > 0) {
            throw new IllegalArgumentException("--events and --seconds exclude each other");
        }
        if (options.mode == Mode.RESTORE && !options.workload.equals("valuestate")) {
            throw new IllegalArgumentException("--mode restore is for valuestate");
        }
        if (!warmup && options.events == 0) {
            options.warmupSeconds = 5;
        }
        if (options.workload.equals("latency")) {
            options.rate = options.rate == 0 ? 20_000 : options.rate;
            options.bufferTimeoutMs = bufferTimeout ? options.bufferTimeoutMs : 1;
        }
        return options;
    }

    /** Whether the contract defines a checksum of this workload's outputs. */
    boolean checked() {
        return checksum && events > 0 && (windows() || workload.startsWith("profiler") || workload.equals("latency"));
    }

    /** Whether the sink measures how late results are: results of windows have no instant they were due at. */
    boolean latencies() {
        return rate > 0 && !windows();
    }

    boolean windows() {
        return workload.startsWith("multiwindow") || workload.equals("sliding_heavy") || workload.equals("session");
    }

    private static String value(String[] args, int i) {
        if (i >= args.length) {
            throw new IllegalArgumentException(args[i - 1] + " needs a value");
        }
        return args[i];
    }

    private static long number(String name, String text, long least, long greatest) {
        try {
            long number = Long.parseLong(text);
            if (number >= least && number <= greatest) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Told below.
        }
        throw new IllegalArgumentException(name + " takes a number from " + least + " to " + greatest + ", not " + text);
    }

    private static <E extends Enum<E>> E choice(Class<E> type, String name, String text) {
        for (E value : type.getEnumConstants()) {
            if (value.name().toLowerCase().equals(text)) {
                return value;
            }
        }
        throw new IllegalArgumentException(name + " does not take " + text);
    }
}
