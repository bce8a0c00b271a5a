package weir.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.checkpoint.AbstractCheckpointStats;
import org.apache.flink.runtime.checkpoint.CheckpointStatsSnapshot;
import org.apache.flink.runtime.checkpoint.CompletedCheckpointStats;
import org.apache.flink.runtime.checkpoint.TaskStateStats;
import org.apache.flink.runtime.jobgraph.JobGraph;
import org.apache.flink.runtime.jobgraph.SavepointRestoreSettings;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Runs one workload on a Flink cluster inside this process and prints one line of JSON. */
public final class Main {
    private static final long POLL_MS = 2;
    private static final double NANOS = 1e9;
    private static final double MB = 1024 * 1024;

    private final Options options;
    private final MiniCluster cluster;
    private final Map<String, Object> report = new LinkedHashMap<>();

    private Main(Options options, MiniCluster cluster) {
        this.options = options;
        this.cluster = cluster;
        report.put("workload", options.workload);
        report.put("backend", options.backend.name().toLowerCase(Locale.ROOT));
        report.put("parallelism", options.parallelism);
        report.put("checkpoint_ms", options.checkpointMs == 0 ? null : options.checkpointMs);
        for (String field : new String[] {
            "events", "seconds", "events_per_s", "outputs", "checksum", "pair_updates", "peak_rss_mb", "cpu_cores", "ckpt_count",
            "ckpt_avg_ms", "ckpt_max_ms", "ckpt_max_stall_ms", "ckpt_full_mb", "ckpt_new_mb", "latency_p50_us", "latency_p99_us",
            "latency_p999_us", "savepoint_s", "restore_s", "restore_local_s"
        }) {
            report.put(field, null);
        }
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 1 && args[0].equals("--self-test")) {
            Events.selfTest();
            System.out.println("the event generator gives the contract's check values");
            return;
        }
        Options options;
        try {
            options = Options.parse(args);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage() + "\n" + Options.USAGE);
            System.exit(2);
            return;
        }
        int exit = 0;
        try (MiniCluster cluster = start(options)) {
            Main main = new Main(options, cluster);
            if (options.mode == Options.Mode.RESTORE) {
                main.restore();
            } else {
                main.run();
            }
            main.report.put("peak_rss_mb", peakRssMb());
            System.out.println(main.json());
        } catch (JobFailed e) {
            System.err.println(e.getMessage());
            if (e.getCause() != null) {
                e.getCause().printStackTrace();
            }
            exit = 1;
        }
        // Flink leaves threads behind that would hold the process for a while.
        System.exit(exit);
    }

    private static MiniCluster start(Options options) throws Exception {
        Configuration config = new Configuration();
        config.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(options.managedMb));
        config.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(128));
        config.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(128));
        config.setString("rest.bind-port", "0");
        config.setString("rest.address", "localhost");
        config.setString("web.checkpoints.history", "100000");
        config.setString("io.tmp.dirs", options.dataDir);
        MiniCluster cluster = new MiniCluster(new MiniClusterConfiguration.Builder()
                .setConfiguration(config)
                .setNumTaskManagers(1)
                .setNumSlotsPerTaskManager(options.parallelism)
                .build());
        cluster.start();
        return cluster;
    }

    private JobGraph job() {
        Configuration config = new Configuration();
        config.setString("pipeline.name", options.workload);
        config.setString("restart-strategy.type", "none");
        config.setString("state.backend.type", options.backend == Options.Backend.HEAP ? "hashmap" : "rocksdb");
        config.setString("execution.checkpointing.incremental", "true");
        config.setString("execution.checkpointing.dir", Paths.get(options.dataDir, "checkpoints").toUri().toString());
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(options.parallelism, config);
        env.getConfig().enableObjectReuse();
        env.setBufferTimeout(options.bufferTimeoutMs);
        if (options.checkpointMs > 0) {
            env.enableCheckpointing(options.checkpointMs);
        }
        switch (options.workload) {
            case "profiler":
            case "latency":
                Profiler.plain(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "profiler_tuned":
                Profiler.tuned(events(env, new EventTypeInfo()), options);
                break;
            case "multiwindow":
                Windows.multiwindow(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "multiwindow_chained":
                Windows.chained(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "sliding_heavy":
                Windows.slidingHeavy(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "session":
                Windows.session(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "itemcf":
                ItemCf.build(events(env, TypeInformation.of(Event.class)), options);
                break;
            case "valuestate":
                ValueCounter.build(keys(env), options);
                break;
            default:
                throw new IllegalStateException(options.workload);
        }
        return env.getStreamGraph().getJobGraph();
    }

    private DataStream<Event> events(StreamExecutionEnvironment env, TypeInformation<Event> type) {
        EventSource<Event> source = new EventSource<>(new EventGenerator(), end(), options.rate);
        WatermarkStrategy<Event> watermarks = options.windows()
                ? WatermarkStrategy.<Event>forBoundedOutOfOrderness(Duration.ofSeconds(10))
                        .withTimestampAssigner((event, before) -> event.timestamp)
                : WatermarkStrategy.noWatermarks();
        return env.fromSource(source, watermarks, "events", type);
    }

    private DataStream<Long> keys(StreamExecutionEnvironment env) {
        long keys = options.keys;
        EventSource<Long> source = new EventSource<>(n -> Events.valueKey(n, keys), end(), options.rate);
        return env.fromSource(source, WatermarkStrategy.noWatermarks(), "keys", Types.LONG);
    }

    private long end() {
        return options.events > 0 ? options.events : Long.MAX_VALUE;
    }

    private static final class EventGenerator implements EventSource.Generator<Event> {
        private transient Event reused;

        @Override
        public Event at(long n) {
            if (reused == null) {
                reused = new Event();
            }
            return Events.fill(reused, n);
        }
    }

    private static final class JobFailed extends Exception {
        JobFailed(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** What was counted, and the CPU time used, at one instant. */
    private static final class Reading {
        final long nanos = System.nanoTime();
        final long events;
        final long outputs;
        final long cpuNanos;

        Reading(long events) {
            this.events = events;
            this.outputs = Meter.OUTPUTS.get();
            this.cpuNanos = ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
        }
    }

    private Reading read() {
        return new Reading(Meter.EVENTS.get() / Windows.operators(options.workload));
    }

    private void run() throws Exception {
        JobID job = submit(job());
        Reading begin = awaitEvents(job, 1);
        // Neither the keys' first fill nor the compiler's warm-up is part of what is measured.
        long fill = options.workload.equals("valuestate") ? options.keys : 1;
        long warm = begin.nanos + (long) (options.warmupSeconds * NANOS);
        boolean finished = false;
        while (!finished && (begin.events < fill || begin.nanos < warm)) {
            finished = pause(job);
            begin = read();
        }
        if (finished && options.events > 0) {
            System.err.println("the input ended within the warm-up: nothing was measured");
        }
        Meter.measuring = true;
        Reading end = begin;
        if (options.events > 0) {
            while (!finished) {
                finished = pause(job);
                Reading now = read();
                // The work ends with the last result, not when Flink has taken the job down.
                if (now.events != end.events || now.outputs != end.outputs) {
                    end = now;
                }
            }
        } else {
            long deadline = begin.nanos + (long) (options.seconds * NANOS);
            while (end.nanos < deadline) {
                pause(job);
                end = read();
            }
            Meter.measuring = false;
        }
        checkpoints(cluster.getExecutionGraph(job).get().getCheckpointStatsSnapshot());
        if (options.events == 0) {
            cancel(job);
        }
        double seconds = (end.nanos - begin.nanos) / NANOS;
        report.put("events", end.events);
        report.put("outputs", end.outputs);
        if (seconds > 0) {
            report.put("seconds", seconds);
            report.put("events_per_s", (end.events - begin.events) / seconds);
            report.put("cpu_cores", (end.cpuNanos - begin.cpuNanos) / NANOS / seconds);
        }
        if (options.checked()) {
            report.put("checksum", Long.toUnsignedString(Meter.CHECKSUM.get()));
        }
        if (options.workload.equals("itemcf")) {
            report.put("pair_updates", Meter.PAIRS.get());
        }
        report.put("latency_p50_us", Meter.LATENCIES.quantile(0.5));
        report.put("latency_p99_us", Meter.LATENCIES.quantile(0.99));
        report.put("latency_p999_us", Meter.LATENCIES.quantile(0.999));
    }

    /** Fills the keys, takes a canonical and a native savepoint, and starts the job from nothing and from each. */
    private void restore() throws Exception {
        JobID first = submit(job());
        awaitEvents(first, options.keys);
        Path savepoints = Paths.get(options.dataDir, "savepoints");
        long began = System.nanoTime();
        String canonical = savepoint(first, savepoints, SavepointFormatType.CANONICAL);
        report.put("savepoint_s", since(began));
        began = System.nanoTime();
        String linked = savepoint(first, savepoints, SavepointFormatType.NATIVE);
        report.put("savepoint_native_s", since(began));
        report.put("events", Meter.EVENTS.get());
        cancel(first);
        report.put("fresh_start_s", startFrom(null));
        report.put("restore_s", startFrom(canonical));
        report.put("restore_local_s", startFrom(linked));
    }

    private String savepoint(JobID job, Path directory, SavepointFormatType format) throws Exception {
        return cluster.triggerSavepoint(job, directory.toUri().toString(), false, format).get();
    }

    /** Seconds from the submission to the last keyed subtask being open with its state. */
    private double startFrom(String savepoint) throws Exception {
        Meter.OPENED.set(0);
        JobGraph graph = job();
        if (savepoint != null) {
            graph.setSavepointRestoreSettings(SavepointRestoreSettings.forPath(savepoint));
        }
        long began = System.nanoTime();
        JobID job = submit(graph);
        while (Meter.OPENED.get() < options.parallelism) {
            pause(job);
        }
        double seconds = since(began);
        cancel(job);
        return seconds;
    }

    private static double since(long nanos) {
        return (System.nanoTime() - nanos) / NANOS;
    }

    private JobID submit(JobGraph graph) throws Exception {
        return cluster.submitJob(graph).get().getJobID();
    }

    private Reading awaitEvents(JobID job, long least) throws Exception {
        boolean finished = false;
        Reading reading = read();
        while (!finished && reading.events < least) {
            finished = pause(job);
            reading = read();
        }
        return reading;
    }

    /** Whether the job has finished; a job that failed is an error. */
    private boolean pause(JobID job) throws Exception {
        Thread.sleep(POLL_MS);
        JobStatus status = cluster.getJobStatus(job).get();
        if (status == JobStatus.FAILED || status == JobStatus.CANCELED) {
            throw new JobFailed(
                    "the job ended as " + status,
                    cluster.requestJobResult(job).get().getSerializedThrowable().orElse(null));
        }
        return status == JobStatus.FINISHED;
    }

    private void cancel(JobID job) throws Exception {
        cluster.cancelJob(job).get();
        cluster.requestJobResult(job).get();
    }

    private void checkpoints(CheckpointStatsSnapshot stats) {
        if (options.checkpointMs == 0 || stats == null) {
            return;
        }
        long count = 0;
        long total = 0;
        long longest = 0;
        long stall = 0;
        long written = 0;
        for (AbstractCheckpointStats checkpoint : stats.getHistory().getCheckpoints()) {
            if (!(checkpoint instanceof CompletedCheckpointStats)) {
                continue;
            }
            count++;
            total += checkpoint.getEndToEndDuration();
            longest = Math.max(longest, checkpoint.getEndToEndDuration());
            written += checkpoint.getCheckpointedSize();
            for (TaskStateStats task : checkpoint.getAllTaskStateStats()) {
                stall = Math.max(stall, task.getSummaryStats().getSyncCheckpointDurationStats().getMaximum());
            }
        }
        report.put("ckpt_count", count);
        if (count > 0) {
            report.put("ckpt_avg_ms", (double) total / count);
            report.put("ckpt_max_ms", longest);
            report.put("ckpt_max_stall_ms", stall);
            report.put("ckpt_full_mb", stats.getHistory().getLatestCompletedCheckpoint().getStateSize() / MB);
            report.put("ckpt_new_mb", written / MB / count);
        }
    }

    /** Null where /proc is missing. */
    private static Long peakRssMb() throws IOException {
        Path status = Paths.get("/proc/self/status");
        if (!Files.exists(status)) {
            return null;
        }
        for (String line : Files.readAllLines(status)) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) / 1024;
            }
        }
        return null;
    }

    private String json() {
        StringJoiner fields = new StringJoiner(",", "{", "}");
        report.forEach((name, value) -> {
            String text = String.valueOf(value);
            if (value instanceof Double) {
                text = String.format(Locale.ROOT, "%.3f", (Double) value);
            } else if (value instanceof String && !name.equals("checksum")) {
                text = '"' + text + '"';
            }
            fields.add('"' + name + "\":" + text);
        });
        return fields.toString();
    }
}
