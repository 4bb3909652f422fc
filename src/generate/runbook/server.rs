//! What to do about the rules that only a server has.

use super::Advice;

pub(super) const SERVER: &[Advice] = &[
    Advice {
        rule: "HighwaterAbsent",
        means: "Nothing of the service has reached the server for three minutes. Either no instance lives, or none can deliver: the first is an outage of the service, the second one of monitoring.",
        look: &[
            "Whether the service answers its callers: ask it, from where they are.",
            "The orchestrator: how many instances run, and since when.",
            "Whether other services still report: if none does, it is the way there or the server.",
            "The last minutes before, on the dashboard: *Memory against its limit*, *Alert timeline*.",
        ],
        act: &[
            "Ask the service something a caller would ask. If it answers, this is about delivery: go on with *DeliveryFailing*.",
            "If it does not, bring an instance up, of the last version that is known to run; understand later.",
            "If instances die again as they start, read the kernel's log and the last page they wrote before you start more of them.",
        ],
        silence: "While the service is meant to be down, until it is back.",
    },
    Advice {
        rule: "HighwaterInstanceSilent",
        means: "An instance reported within the last ten minutes and no longer does, and no other came in its place. A deploy or a restart replaces it and does not raise this.",
        look: &[
            "Whether somebody scaled down.",
            "*OomKillSeen* in the instances beside it, and the kernel's log of its host.",
            "Its last minutes on the dashboard: choose the instance, then *Memory against its limit* and *Pressure*.",
        ],
        act: &[
            "See whether the others carry its load: *Instances, the worst first* on the fleet's dashboard.",
            "If they do not, add one instance before you look for the lost one.",
            "If it lives and is only silent, go on with *DeliveryFailing*.",
        ],
        silence: "During a planned scale-down, until it is done.",
    },
    Advice {
        rule: "HighwaterAlertFiring",
        means: "An alert fires in the process, and the server passes it on to whoever routes with Alertmanager, with its own severity. What it is stands in its label `rule`.",
        look: &["The section of that rule here: the alert links to it."],
        act: &["Go to the section of the rule that its label `rule` names."],
        silence: "In Alertmanager, by `rule` and `instance`; a silence given in the process does not reach there.",
    },
    Advice {
        rule: "HighwaterFleetAlerting",
        means: "The same rule fires in more than half of the instances. They did not all break at once by themselves: something they share did.",
        look: &[
            "What changed for all: a deploy, a configuration, a migration, the load.",
            "*Firing alerts by instance*: whether it began everywhere at once.",
            "The section of the rule that its label `rule` names.",
        ],
        act: &[
            "If it began with a deploy, roll back.",
            "If it began with the load, shed at the entrance; not instance by instance.",
            "Do not restart them one by one: what they share will do the same to the new ones.",
        ],
        silence: "Not: silence the rule it is about, if that is expected.",
    },
    Advice {
        rule: "HighwaterDeadMan",
        means: "It always fires. Its absence is the alarm: then the server that evaluates, its Alertmanager or the way from there to you is down.",
        look: &["Whether the server is up and evaluates: its own `/-/healthy` and its rules page."],
        act: &[
            "Route it to something outside that tells you when it stops.",
            "If you were told that it stopped, look at the server, then at Alertmanager, then at the way between.",
        ],
        silence: "Never: a silenced dead man says nothing when he dies.",
    },
];
