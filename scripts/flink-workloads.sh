#!/usr/bin/env bash
# Runs the benchmark workloads on Apache Flink, alone or interleaved with Weir. See benches/README.md.
set -euo pipefail
invoked_from=$PWD
cd "$(dirname "$0")/.."

usage() {
    cat >&2 <<'END'
usage: FLINK_HOME=DIR scripts/flink-workloads.sh NAME [OPTIONS] [FLINK OPTIONS]
           one workload on Flink; one line of JSON on stdout
       FLINK_HOME=DIR scripts/flink-workloads.sh --verify [heap|rocksdb]
           compares Flink's outputs at a fixed number of events with the check values of the contract
       FLINK_HOME=DIR scripts/flink-workloads.sh --beside [--rounds N] [--pairs WEIR:FLINK,..] [FLINK OPTIONS] [NAME...] [-- OPTIONS]
           runs Weir and Flink in turns, OPTIONS given to both, and prints Markdown tables of the medians;
           3 rounds, memory:heap and redb:rocksdb, every workload but sliding_heavy on disk when nothing is said

NAME     profiler, profiler_tuned, multiwindow, multiwindow_chained, sliding_heavy, session, itemcf, valuestate, latency
OPTIONS  --backend heap|rocksdb  --parallelism P  --checkpoint-ms MS  --events N | --seconds S  --warmup-seconds W  --keys K
         --rate R  --checksum  --mode run|restore
FLINK OPTIONS, of Flink alone: --buffer-timeout-ms MS (100; latency 1; 0 flushes every record)  --managed-mb MB (RocksDB's, 512)
FLINK_HOME is Flink 1.20 (a folder with lib/), or a folder of its jars; scripts/fetch-flink.sh DIR makes one. FLINK_JVM_OPTS
replaces "-Xmx8g -XX:+UseParallelGC". Java 17 is looked for in JAVA_HOME, on the PATH and in /usr/lib/jvm.
END
}

die() {
    echo "$1" >&2
    exit "${2:-1}"
}

# ---- Flink: its jars, Java, and our classes ----------------------------------------------------------------------------------

find_jars() {
    [ -n "${FLINK_HOME:-}" ] || die "FLINK_HOME is not set. scripts/fetch-flink.sh DIR fetches Flink; then FLINK_HOME=DIR." 2
    local home folder
    home=$(cd "$invoked_from" && cd "$FLINK_HOME" 2>/dev/null && pwd) || die "FLINK_HOME=$FLINK_HOME is no folder" 2
    for folder in "$home/lib" "$home"; do
        if compgen -G "$folder/flink-dist*.jar" >/dev/null; then
            jars=$folder
            return
        fi
    done
    die "neither $home/lib nor $home has flink-dist*.jar" 2
}

# Sets java_bin. Flink 1.20 runs on Java 8, 11 and 17; the classes are built for 17.
find_java() {
    local folder on_path
    on_path=$(command -v javac || true)
    for folder in "${JAVA_HOME:+$JAVA_HOME/bin}" "${on_path:+$(dirname "$on_path")}" /usr/lib/jvm/*17*/bin \
        /Library/Java/JavaVirtualMachines/*17*/Contents/Home/bin; do
        if [ -x "$folder/javac" ] && [ -x "$folder/java" ] && [[ $("$folder/java" -version 2>&1) == *'version "17'[.\"]* ]]; then
            java_bin=$folder
            return
        fi
    done
    die "Java 17 (a JDK: java and javac) is needed to run Flink and was not found in JAVA_HOME, on the PATH or in /usr/lib/jvm.
Install it (Debian: openjdk-17-jdk-headless) or set JAVA_HOME. Weir itself does not need it." 3
}

compile() {
    local stamp=$classes/.built-against sources
    sources=(benches/flink/*.java)
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$jars" ] && [ -z "$(find benches/flink -name '*.java' -newer "$stamp")" ]; then
        return
    fi
    rm -rf "$classes"
    mkdir -p "$classes"
    "$java_bin/javac" -nowarn --release 17 -d "$classes" -cp "$jars/*" "${sources[@]}" 2>"$scratch/javac" || {
        cat "$scratch/javac" >&2
        die "the sources in benches/flink do not compile against $jars: is it Flink 1.20?"
    }
    printf '%s' "$jars" >"$stamp"
}

prepare_flink() {
    find_jars
    find_java
    compile
}

flink() {
    local data=$scratch/data status=0 package opens=() jvm=()
    # What Flink's serializers and closure cleaner reach into (as in Flink's own conf/config.yaml).
    for package in java.lang java.lang.reflect java.text java.time java.util java.util.concurrent java.util.concurrent.atomic \
        java.util.concurrent.locks java.net java.io java.nio; do
        opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
    done
    read -r -a jvm <<<"${FLINK_JVM_OPTS:--Xmx8g -XX:+UseParallelGC}"
    mkdir -p "$data"
    "$java_bin/java" "${jvm[@]}" "${opens[@]}" -Dlog4j.configurationFile=benches/flink/log4j2.properties \
        -Djava.io.tmpdir="$data" -cp "$classes:$jars/*" weir.bench.Main "$@" || status=$?
    rm -rf "$data"
    return "$status"
}

flink_workload() {
    flink "$@" --data-dir "$scratch/data"
}

# field JSON NAME: its value without quotes; empty when it is null or not there.
field() {
    sed -n "s/.*\"$2\" *: *\"\{0,1\}\([^\",}]*\).*/\1/p" <<<"$1" | sed 's/^null$//'
}

# ---- --verify ----------------------------------------------------------------------------------------------------------------

verify() {
    local backend=${1:-heap} failed=0 name events parallelism outputs key value line
    flink --self-test
    while read -r name events parallelism outputs key value; do
        if line=$(flink_workload "$name" --backend "$backend" --parallelism "$parallelism" --events "$events" --checksum) &&
            [ "$(field "$line" outputs)" = "$outputs" ] && [ "$(field "$line" "$key")" = "$value" ]; then
            echo "ok      $name, $events events, parallelism $parallelism, $backend: $outputs outputs, $key $value"
        else
            echo "FAILED  $name, $events events, parallelism $parallelism, $backend: expected $outputs outputs, $key $value; ${line:-no result}"
            failed=1
        fi
    done <<'END'
profiler 1000000 1 1000000 checksum 1458120313619156330
profiler_tuned 1000000 1 1000000 checksum 1458120313619156330
multiwindow 1000000 2 409403 checksum 3970969733095331245
multiwindow_chained 1000000 2 409403 checksum 3970969733095331245
session 1000000 2 80878 checksum 10647987156594291694
sliding_heavy 20000 2 2600286 checksum 18369259146514773645
itemcf 100000 1 100000 pair_updates 3272522
END
    return "$failed"
}

# ---- --beside ----------------------------------------------------------------------------------------------------------------

# median FILE NAME: of the field over the file's lines of JSON; empty when a line has none.
median() {
    local line
    while read -r line; do field "$line" "$2"; done <"$1" | grep . | sort -g |
        awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }' || true
}

# cell VALUE DIGITS: thousands apart, "-" for none.
cell() {
    awk -v value="${1:--}" -v digits="$2" 'BEGIN {
        if (value == "-") { print "-"; exit }
        text = sprintf("%." digits "f", value); whole = text; rest = ""
        if (match(text, /\./)) { whole = substr(text, 1, RSTART - 1); rest = substr(text, RSTART) }
        while (match(whole, /[0-9][0-9][0-9][0-9]($|,)/)) whole = substr(whole, 1, RSTART) "," substr(whole, RSTART + 1)
        print whole rest
    }'
}

# ratio A B: A / B with two digits.
ratio() {
    awk -v a="${1:-0}" -v b="${2:-0}" 'BEGIN { if (a + 0 > 0 && b + 0 > 0) printf "%.2f\n", a / b; else print "-" }'
}

# Whether both gave the same results, where a fixed number of events and a checksum make that plain. Profiles and histories depend
# on the order of a user's events, so on the parallelism.
same_results() {
    local weir flink name a b answer="-"
    weir=$(tail -n 1 "$1")
    flink=$(tail -n 1 "$2")
    case $(field "$flink" workload):$(field "$flink" parallelism) in
        profiler*:1 | latency:1 | itemcf:1) ;;
        profiler* | latency:* | itemcf:*) echo "-"; return ;;
    esac
    for name in checksum pair_updates; do
        a=$(field "$weir" "$name")
        b=$(field "$flink" "$name")
        if [ -n "$a" ] && [ -n "$b" ]; then
            answer=yes
            if [ "$a" != "$b" ] || [ "$(field "$weir" outputs)" != "$(field "$flink" outputs)" ]; then
                echo "**no**"
                return
            fi
        fi
    done
    echo "$answer"
}

# one_run FILE COMMAND..: appends the line of JSON; a failure is told and leaves none.
one_run() {
    local file=$1 line
    shift
    echo "--> $*" >&2
    if line=$("$@" | tail -n 1) && [ -n "$line" ]; then
        printf '%s\n' "$line" >>"$file"
    else
        echo "failed: $*" >&2
        failures=$((failures + 1))
    fi
}

weir_workload() {
    cargo run --quiet --release --locked -p benches --bin workload -- "$@"
}

# What is run when no option after `--` says how long.
duration_of() {
    case $1:$2 in
        itemcf:rocksdb) echo "--events 100000" ;; # The rate falls as histories fill: only equal numbers compare.
        itemcf:*) echo "--events 500000" ;;
        *) echo "--seconds 10 --warmup-seconds 5" ;;
    esac
}

row() {
    local name=$1 backends=$2 w=$3 f=$4 checkpoints="-" we fe
    we=$(median "$w" events_per_s)
    fe=$(median "$f" events_per_s)
    local wm fm wc fc cores
    cores="$(cell "$(median "$w" cpu_cores)" 1) / $(cell "$(median "$f" cpu_cores)" 1)"
    wm=$(median "$w" peak_rss_mb)
    fm=$(median "$f" peak_rss_mb)
    wc=$(median "$w" ckpt_avg_ms)
    fc=$(median "$f" ckpt_avg_ms)
    [ -n "$wc$fc" ] && checkpoints="$(cell "$wc" 1) / $(cell "$fc" 1)"
    if [ -n "$we$fe" ]; then
        echo "| $name | $backends | $(cell "$we" 0) | $(cell "$fe" 0) | $(ratio "$we" "$fe") | $(cell "$wm" 0) / $(cell "$fm" 0)" \
            "| $(ratio "$fm" "$wm") | $cores | $checkpoints | $(same_results "$w" "$f") |" >>"$scratch/throughput"
    fi
    if [ -n "$(median "$w" latency_p50_us)$(median "$f" latency_p50_us)" ]; then
        local line="| $name | $backends |" quantile a b
        for quantile in p50 p99 p999; do
            a=$(median "$w" "latency_${quantile}_us")
            b=$(median "$f" "latency_${quantile}_us")
            line+=" $(cell "$a" 0) / $(cell "$b" 0) | $(ratio "$b" "$a") |"
        done
        echo "$line" >>"$scratch/latency"
    fi
    if [ -n "$(median "$w" restore_s)$(median "$f" restore_s)" ]; then
        local line="| $name | $backends |" what a b
        for what in savepoint_s restore_s restore_local_s; do
            a=$(median "$w" "$what")
            b=$(median "$f" "$what")
            line+=" $(cell "$a" 2) / $(cell "$b" 2) | $(ratio "$b" "$a") |"
        done
        echo "$line" >>"$scratch/restore"
    fi
}

table() {
    [ -s "$1" ] || return 0
    printf '\n%s\n%s\n' "$2" "$3"
    cat "$1"
}

beside() {
    local rounds=3 pairs="memory:heap,redb:rocksdb" names=() options=() flink_options=() has_duration=0 option name
    while [ $# -gt 0 ]; do
        case $1 in
            --rounds) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "--rounds takes a number" 2; rounds=$2; shift ;;
            --pairs) [[ ${2:-} =~ ^[a-z]+:[a-z]+(,[a-z]+:[a-z]+)*$ ]] || die "--pairs takes WEIR:FLINK,.." 2; pairs=$2; shift ;;
            --buffer-timeout-ms | --managed-mb) flink_options+=("$1" "${2:-}"); shift ;;
            --) shift; options=("$@"); break ;;
            -*) usage; exit 2 ;;
            *) names+=("$1") ;;
        esac
        [ $# -eq 0 ] || shift
    done
    local all=0 known=(profiler profiler_tuned valuestate multiwindow multiwindow_chained session sliding_heavy itemcf latency)
    if [ ${#names[@]} -eq 0 ]; then
        all=1
        names=("${known[@]}")
    fi
    for name in "${names[@]}"; do
        [[ " ${known[*]} " == *" $name "* ]] || die "unknown workload $name" 2
    done
    for option in "${options[@]}"; do
        case $option in
            --events | --seconds | --mode) has_duration=1 ;;
            --backend) die "name backends with --pairs" 2 ;;
        esac
    done
    cargo build --release --locked -p benches --bin workload
    local pair weir flink round duration weir_name w f
    for name in "${names[@]}"; do
        for pair in ${pairs//,/ }; do
            weir=${pair%:*}
            flink=${pair#*:}
            # Minutes to a first result on RocksDB: only when it is asked for.
            [ "$all$name$flink" = 1sliding_heavyrocksdb ] && continue
            # Weir has no second version to hold against a tuned job: the one there is meets both.
            weir_name=${name%_tuned}
            weir_name=${weir_name%_chained}
            duration=()
            [ "$has_duration" = 1 ] || read -r -a duration <<<"$(duration_of "$name" "$flink")"
            w=$scratch/weir.$name.$weir
            f=$scratch/flink.$name.$flink
            : >"$w"
            : >"$f"
            for ((round = 1; round <= rounds; round++)); do
                one_run "$w" weir_workload "$weir_name" --backend "$weir" "${duration[@]}" "${options[@]}"
                one_run "$f" flink_workload "$name" --backend "$flink" "${duration[@]}" "${options[@]}" \
                    "${flink_options[@]}"
            done
            row "$name" "$weir, $flink" "$w" "$f"
        done
    done
    table "$scratch/throughput" \
        '| workload | Weir on, Flink on | Weir events/s | Flink events/s | Weir / Flink | peak MB, Weir / Flink | Flink / Weir | cores used, Weir / Flink | checkpoint ms, Weir / Flink | same results |' \
        '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |'
    table "$scratch/latency" \
        '| workload | Weir on, Flink on | p50 us, Weir / Flink | Flink / Weir | p99 us | Flink / Weir | p99.9 us | Flink / Weir |' \
        '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |'
    table "$scratch/restore" \
        '| workload | Weir on, Flink on | savepoint s, Weir / Flink | Flink / Weir | restore s | Flink / Weir | local restore s | Flink / Weir |' \
        '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |'
    cat <<END

Medians of $rounds interleaved runs; $(basename "$(compgen -G "$jars/flink-dist*.jar" | head -n 1)" .jar), Java 17, ${FLINK_JVM_OPTS:--Xmx8g -XX:+UseParallelGC}.
Weir $(git rev-parse --short HEAD 2>/dev/null || echo "of no commit")$(git diff --quiet HEAD 2>/dev/null || echo " with changes"), $(date -u +%F), $(uname -sm), $(getconf _NPROCESSORS_ONLN) cores.
Command: \`scripts/flink-workloads.sh --beside --rounds $rounds --pairs $pairs ${flink_options[*]:+${flink_options[*]} }${names[*]}${options[*]:+ -- ${options[*]}}\`
END
    [ "$failures" -eq 0 ] || die "$failures runs failed"
}

# ------------------------------------------------------------------------------------------------------------------------------

case ${1:-} in
    "") usage; exit 2 ;;
    -h | --help) usage 2>&1; exit 0 ;;
esac
classes=$PWD/${CARGO_TARGET_DIR:-target}/flink-workloads
[[ ${CARGO_TARGET_DIR:-} != /* ]] || classes=$CARGO_TARGET_DIR/flink-workloads
failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prepare_flink
case $1 in
    --verify) shift; verify "$@" ;;
    --beside) shift; beside "$@" ;;
    *) flink_workload "$@" ;;
esac
