//! What to do about each preset rule, in the words of someone who has been woken by it.

use super::server::SERVER;
use crate::{
    event::Severity,
    rule::{Rule, readable},
};

/// One section of the runbook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advice {
    pub(crate) rule: &'static str,
    /// What it means; see [`Self::means_with`].
    pub(super) means: &'static str,
    /// What to look at, most telling first.
    pub(crate) look: &'static [&'static str],
    /// What to do now, in this order; the first is safe without having understood anything.
    pub(crate) act: &'static [&'static str],
    /// When keeping it quiet is honest.
    pub(crate) silence: &'static str,
}

impl Advice {
    /// What it means, with the figures of the rules of this name: `{warning}` and `{critical}` stand
    /// for what they compare with.
    pub(crate) fn means_with(&self, rules: &[&Rule]) -> String {
        let figure = |severity: Severity| {
            let of = rules.iter().find(|rule| rule.severity_level() == severity);
            let threshold = |rule: &&Rule| rule.threshold();
            // A rule that took a preset's place may have another severity.
            let (value, unit) = of.or(rules.first()).and_then(threshold)?;
            Some(readable(Some(value), &unit))
        };
        let mut text = self.means.to_owned();
        for severity in [Severity::Warning, Severity::Critical] {
            let place = format!("{{{severity}}}");
            if text.contains(&place) {
                let figure = figure(severity);
                text = text.replace(&place, figure.as_deref().unwrap_or("much"));
            }
        }
        text
    }
}

/// The advice for a preset rule, or one of those for a server.
pub(crate) fn advice(rule: &str) -> Option<&'static Advice> {
    all().find(|advice| advice.rule == rule)
}

pub(super) fn all() -> impl Iterator<Item = &'static Advice> {
    ADVICE.iter().chain(SERVER)
}

const ADVICE: &[Advice] = &[
    Advice {
        rule: "MemoryNearLimit",
        means: "More than {warning} of a memory limit that binds this process has been in use for longer than a peak lasts, page cache and what else the kernel can take back left out. Nothing has failed yet: this is the time in which something can still be done in daylight manners.",
        look: &[
            "The evidence in the alert: which component holds most, which one grew, and whether the limit has a time.",
            "Panels *By component* and *Memory against its limit*: a line that climbs is a leak or a queue; a step is a deploy, a job or a tenant; a plateau below the limit is a cache that filled as it was meant to.",
            "*Time to the limit*: if it is there, you have that long. If it is empty, usage is not growing and nobody has to hurry.",
        ],
        act: &[
            "Read in the evidence which component grew, and cut what feeds it: pause its consumer, lower its cache's size, stop the batch job.",
            "If nothing named grew, look at what the process does that no component states, and at the allocator: give it a component later, today compare with the last deploy.",
            "Add an instance or raise the limit if the growth is honest demand. A raised limit buys time and hides a leak: write down who raised it and until when.",
        ],
        silence: "While a known load runs whose peak is known to fit, for as long as it runs. Never because it is always on: then raise the threshold for this service with `HIGHWATER_RULES=MemoryNearLimit.threshold=…` and say why.",
    },
    Advice {
        rule: "MemoryCritical",
        means: "More than {critical} of a binding memory limit is in use, or little less and it will be within seconds. The kernel kills at 100%, and what it kills loses all requests in flight. You have seconds to minutes.",
        look: &[
            "Nothing, before you acted.",
            "Then the evidence: the component at the top of the list is what you have to shrink.",
            "*Pressure*: if *memory full* is above a few percent, the machine is already standing still part of the time.",
        ],
        act: &[
            "Shed load now: take the instance out of the balancer or lower its share; diagnose later.",
            "Add an instance, so that what you shed has somewhere to go.",
            "If it does not fall within a minute of shedding, restart this instance in a controlled way, one at a time: a drained restart loses nothing, a kill loses everything in flight.",
            "Keep the evidence and this page before the restart: they are gone with the process.",
        ],
        silence: "Not. If it fires and nothing is wrong, the limit or the threshold is wrong: change that.",
    },
    Advice {
        rule: "MemoryExhaustionForecast",
        means: "Memory rises steadily, and at this rate the limit is reached within ten minutes. The rate is a robust trend: a burst or a saw does not raise this alert.",
        look: &[
            "The time in the summary: that is how long you have.",
            "*By component*: the one whose line has the same slope as the total is the cause, even if it is not the largest.",
            "What changed when the slope began: a deploy, a job, a new tenant, a consumer that stopped.",
        ],
        act: &[
            "Find the component whose line has the same slope, and stop what feeds it.",
            "If you cannot, plan a controlled restart before the time is up, instance by instance.",
            "Check that other instances do not have the same slope: a leak that came with a deploy is everywhere, and rolling back is quicker than understanding.",
        ],
        silence: "During a planned warm-up or a load test that is known to end below the limit, until it ends.",
    },
    Advice {
        rule: "MemoryExhaustionImminent",
        means: "At the present growth the limit is reached within two minutes. The next thing to happen by itself is the kernel's.",
        look: &["The evidence's first line. Everything else is for afterwards."],
        act: &[
            "Drain this instance now and restart it, in a controlled way, before the kernel does it.",
            "If several instances say so at once, shed at the entrance (rate limit, queue, maintenance page): restarting them together is the outage.",
            "Afterwards treat it as *MemoryExhaustionForecast*: it gave the same warning earlier, find out who did not hear it.",
        ],
        silence: "Not.",
    },
    Advice {
        rule: "MemoryThrashing",
        means: "Tasks stand still because memory is being reclaimed, read back and reclaimed again: the kernel's pressure figure (PSI `full`) says for what share of the time *no* task made progress. Latency is already bad; an OOM kill may never come to end it.",
        look: &[
            "*Pressure*: memory *full* is the time nobody worked.",
            "*Page faults*: major faults read from disk what had just been dropped, the program's own code included.",
            "*Memory against its limit*: which level is full, and the evidence: who holds it.",
        ],
        act: &[
            "Reduce concurrency: admit less, shrink worker pools, shed. Every task fewer gives its memory back.",
            "Do not add CPU and do not add threads: they make it worse.",
            "If the whole host thrashes, find the neighbour that grew; moving one of you away is quicker than tuning.",
            "If it does not fall within minutes, restart what grew; a thrashing process rarely recovers its pace alone.",
        ],
        silence: "Not while it is critical. A warning on a batch machine that is meant to be full may have a higher threshold instead.",
    },
    Advice {
        rule: "OomKillSeen",
        means: "The kernel killed a process within a memory limit that is also yours. It may have been a child, a neighbour in the same group, or an earlier life of this very service.",
        look: &[
            "Whether this process is younger than it should be (*Age*): then it was you.",
            "The kernel's log (`dmesg -T | grep -i oom`, or the container runtime's events): who was killed, and what it held.",
            "What was recorded last before: the component at the top, and whether *MemoryNearLimit* fired beforehand.",
        ],
        act: &[
            "See which process was killed, and what was recorded last.",
            "If it was a worker of yours, check that what it was doing was not lost: queues, uploads, half-written files.",
            "If it happens again within the hour, lower concurrency or raise the limit before you look further: each kill loses work.",
        ],
        silence: "For a process that is expected to be killed (a sandboxed job), by its group's labels, with an end.",
    },
    Advice {
        rule: "SwapStorm",
        means: "Pages go to swap and come back, a thousand a second each way, and tasks wait for them. Memory in swap is harmless; memory that travels is not.",
        look: &[
            "*Swap traffic*, in and out together: one way only is no storm.",
            "*Pressure*, to see whether anybody waits for it.",
            "What outgrew memory: the evidence and *By component*, not the list of what lies in swap.",
        ],
        act: &[
            "Reduce what is in use: shed, shrink caches, stop the job that began when the traffic did.",
            "If a database or a cache on this machine is what is swapped, move it or give it its own limit.",
            "Do not switch swap off under load: all of it has to come back at once.",
        ],
        silence: "During a planned compaction or backup on a machine built to swap, until it ends.",
    },
    Advice {
        rule: "QuerySlowerThanBaseline",
        means: "A query's p95 over five minutes is more than twice what it was in the hour before. It tells of change, not of harm: no objective is known to be missed.",
        look: &[
            "The evidence: whether all calls are slower (plan, cache, database) or only the tail (locks, large parameters), and whether callers wait for a connection.",
            "*Latency, all of it*: two bands are two plans or two kinds of caller.",
            "Deploys, migrations and statistics runs of the last hour.",
        ],
        act: &[
            "Look at deploys, plan changes and pool wait before the database.",
            "Compare the plan (`EXPLAIN (ANALYZE, BUFFERS)` or your database's like) with the one you know.",
            "If it began with a deploy, roll back first and understand later.",
        ],
        silence: "During a backfill or a migration whose slowness is accepted, for that query, until it ends.",
    },
    Advice {
        rule: "QueryErrorShare",
        means: "More than {warning} of the calls of a query fail (critical: more than {critical}), over five minutes and still over the last one. Cancelled calls do not count.",
        look: &[
            "*Failures by type*: connection errors, time-outs and errors of the server have different owners.",
            "Whether one query fails or all of them: one is a statement or its data, all are the way to the database.",
            "*Wait for a connection* and *Time-outs*: a pool that is exhausted looks like a database that fails.",
        ],
        act: &[
            "Read the top `error.type`, and hand it to its owner: connection errors to network or database, time-outs to whoever made the query slow, statement errors to the last deploy.",
            "If retries are on, make sure they back off: a failing database is finished off by its clients.",
            "If more than half fails, stop calling it: serve what you can without, and say so to your callers.",
        ],
        silence: "For a dependency that is known to be down and is being worked on, for that query, with the incident's number as the reason.",
    },
    Advice {
        rule: "PoolSaturated",
        means: "For a minute somebody has been waiting for a connection nearly all the time, and long enough to be felt. A pool that is merely full, without waiters, does not raise this.",
        look: &[
            "*A connection is held for*: rising means slow queries, flat means demand, never falling means a leak.",
            "The evidence: whether the pool is too small, the database slow or the process starved, each with its figures; and which query has most calls under way, as it holds the connections.",
            "*In flight* of that query, against its calls a second.",
        ],
        act: &[
            "Find in the evidence which query holds the connections. If it became slow, that is the problem, not the pool.",
            "If demand rose, admit less at the door; latency there is kinder than a time-out here.",
            "Enlarge the pool only if the database has room: more connections on a busy database make every one of them slower.",
            "If nothing comes back, it is a leak: a restart frees it, the guard that is not dropped has to be found.",
        ],
        silence: "During a planned burst whose waiters are accepted, until it is over.",
    },
    Advice {
        rule: "PoolTimeouts",
        means: "Requests ended without a connection: five a minute and at least 1% of all. That is work that was lost, not delayed.",
        look: &[
            "Whether *PoolSaturated* was there first: then go by its section.",
            "*Connections*: used at the most means exhausted; far below it, new connections cannot be opened (database down, its own limit reached, TLS, DNS).",
            "*A connection is held for*.",
        ],
        act: &[
            "Shed before enlarging the pool: refuse at the door what would only wait and fail.",
            "If connections cannot be opened, look at the database's own limit and its log.",
            "If a query hangs, kill it on the database: one `pg_terminate_backend` gives a connection back.",
        ],
        silence: "Not: work is being lost. If a client is expected to fail, give its pool a name of its own and silence that.",
    },
    Advice {
        rule: "TooManyConcurrentQueries",
        means: "Far more calls are in flight than usual (or than the cap that was declared), and throughput has not grown with them while latency has: the database is past the point at which more concurrency helps.",
        look: &[
            "*In flight* beside *Calls*: the first rises, the second does not.",
            "*Latency*: it rises with what is in flight.",
            "What started at once: a retry storm, a cache that expired, a job.",
        ],
        act: &[
            "Lower admission until latency returns: fewer at a time finish sooner, all of them.",
            "Look for retries without back-off and switch them off.",
            "If a cache expired for everybody at once, warm it from one place.",
        ],
        silence: "During a load test, until it ends.",
    },
    Advice {
        rule: "FileDescriptorExhaustion",
        means: "More than {warning} of the file descriptors this process may have are open (critical: {critical}). At the limit accepting connections, opening files and DNS all fail, in ways that look like anything else.",
        look: &[
            "`ls -l /proc/PID/fd | awk '{print $NF}' | sed 's/[0-9]\\+//g' | sort | uniq -c | sort -rn | head`: by type.",
            "`ss -tanp | grep pid=PID | awk '{print $1}' | sort | uniq -c`: sockets in CLOSE-WAIT mean a leak, not traffic.",
            "*File descriptors*: a slope is a leak, a step is traffic.",
        ],
        act: &[
            "List descriptors by type; if it is traffic, shed or add an instance.",
            "Raise the soft limit up to the hard one in the running process: `prlimit --pid PID --nofile=HARD`.",
            "If it is a leak, restart in a controlled way and find what is not closed.",
        ],
        silence: "During a planned peak of connections that is known to fit.",
    },
    Advice {
        rule: "ThreadExplosion",
        means: "More than {warning} of the threads this group may have exist. At the limit, starting a thread fails: runtimes panic, and so do libraries that never expected it.",
        look: &[
            "`ps -L -o comm= -p PID | sort | uniq -c | sort -rn | head`: threads by name.",
            "A full pool of blocking threads means that a dependency is slow.",
        ],
        act: &[
            "Group threads by name; whoever owns the largest group has to be bounded.",
            "If they are blocking workers, find the call they block on, and shed what leads to it.",
        ],
        silence: "Not: what fails at the limit fails anywhere.",
    },
    Advice {
        rule: "RuntimeStalled",
        means: "The heartbeat of an async runtime came late: a worker is blocked, or there is no CPU for it. Everything else on that runtime waits.",
        look: &[
            "The label: *CPU-starved* means the quota throttled the process; then look at CPU, not at code. *worker_blocked* is one worker of several: what was queued on it waits with it.",
            "The stacks of the workers, now, while it still is.",
        ],
        act: &[
            "Take stacks now, while it still is: `gdb -p PID -batch -ex 'thread apply all bt'`, or `eu-stack -p PID`.",
            "If it is throttled, raise the CPU quota or shed load.",
            "If a worker is blocked in a call, that call belongs on a blocking pool: until it is moved, shed what leads to it.",
        ],
        silence: "During a planned stop of the process (a debugger, a snapshot of the machine).",
    },
    Advice {
        rule: "DeliveryFailing",
        means: "Nothing has been taken by the receiver of metrics or of alerts for five minutes, and data waits or is refused and lost; or the spool is nearly full. The label `cause` says which: `no_success`, `refused`, `spool_filling`. Decisions in the process still work; dashboards and remote alerts are stale.",
        look: &[
            "*Waiting to be delivered* and *Delivery*: by `error_type`.",
            "`hw.health()` in the process, or the service's own log: the receiver's last answer.",
            "Whether other services deliver to the same receiver.",
        ],
        act: &[
            "Trust no dashboard of this service until it is over; ask the process itself (its report, its log).",
            "Check the receiver, then the way there: address, certificate, proxy, credentials. For `refused`, credentials first: what is refused is lost, not kept.",
            "If there is a spool, its disk must not fill up; what waits is delivered later with its own times.",
        ],
        silence: "While the receiver is being maintained, until it is back.",
    },
    Advice {
        rule: "HighwaterOverloaded",
        means: "highwater itself lacks resources: a round takes more than a fifth of its interval, rounds are missed, or values are dropped. What it does not say may then mean nothing.",
        look: &[
            "The label `cause`: `slow_tick`, `missed_ticks` or `drops`; for drops, the reason.",
            "*A round of highwater* and *Series, silences, mistakes*: a metric with ever new label values makes every round dearer.",
            "Whether the process is throttled or starved of CPU.",
        ],
        act: &[
            "Trust its silence less, and look yourself.",
            "For drops by `cardinality`: find the label whose values never end (an id, a path) and remove it.",
            "For slow rounds: a longer tick (`HIGHWATER_TICK=5s`) helps at once; rules then react that much later.",
        ],
        silence: "While the process is known to be starved and that is being worked on.",
    },
];
