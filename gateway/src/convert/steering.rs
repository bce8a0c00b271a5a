//! Rules and experiments.

use crate::{error::Result, proto::v1};
use recsys::{
    Boost, Command, Condition, Experiment, Exploration, ItemId, Matches, Requirement, Rules,
    SeenRule, Variant,
};
use std::collections::BTreeSet;

fn invalid(field: &'static str, problem: &str) -> crate::Error {
    let problem = problem.to_owned();
    crate::Error::Recsys(recsys::Error::Invalid { field, problem })
}

/// Rules as a command, checked.
///
/// # Errors
/// A field that is missing or out of bounds, by its name.
pub(crate) fn rules_to_domain(request: v1::SetRulesRequest) -> Result<Command> {
    Ok(Command::Rules(rules_from_proto(
        request.rules.unwrap_or_default(),
    )?))
}

/// Experiments as a command, checked.
///
/// # Errors
/// As for [`rules_to_domain`].
pub(crate) fn experiments_to_domain(request: v1::SetExperimentsRequest) -> Result<Command> {
    let experiments = request.experiments.into_iter().map(experiment_from_proto);
    let experiments = experiments.collect::<Result<Vec<_>>>()?;
    let names: BTreeSet<_> = experiments.iter().map(|e| &e.name).collect();
    if names.len() < experiments.len() {
        return Err(invalid("experiment", "two have the same name"));
    }
    Ok(Command::Experiments(experiments))
}

/// Rules, checked.
///
/// # Errors
/// As for [`rules_to_domain`].
pub(crate) fn rules_from_proto(rules: v1::Rules) -> Result<Rules> {
    let ids = |ids: Vec<String>| -> recsys::Result<BTreeSet<ItemId>> {
        ids.into_iter().map(ItemId::new).collect()
    };
    let rules = Rules {
        seen: rules
            .seen
            .map_or(Ok(SeenRule::default()), seen_from_proto)?,
        allow: ids(rules.allow)?,
        deny: ids(rules.deny)?,
        categories: rules.categories.into_iter().collect(),
        deny_categories: rules.deny_categories.into_iter().collect(),
        per_category: rules.per_category as usize,
        require: rules
            .require
            .into_iter()
            .map(requirement_from_proto)
            .collect::<Result<_>>()?,
        boosts: rules
            .boosts
            .into_iter()
            .map(boost_from_proto)
            .collect::<Result<_>>()?,
        diversity: rules.diversity,
        exploration: match rules.exploration.and_then(|e| e.kind) {
            None => Exploration::Off,
            Some(v1::exploration::Kind::Epsilon(share)) => Exploration::Epsilon(share),
            Some(v1::exploration::Kind::Thompson(places)) => Exploration::Thompson(places as usize),
        },
    };
    rules.validate()?;
    Ok(rules)
}

fn seen_from_proto(seen: v1::SeenRule) -> Result<SeenRule> {
    use v1::seen_rule::Mode;
    match Mode::try_from(seen.mode) {
        Ok(Mode::ExcludeFor) => Ok(SeenRule::ExcludeForMs(seen.for_ms)),
        Ok(_) if seen.for_ms > 0 => Err(invalid("seen", "for_ms goes with MODE_EXCLUDE_FOR only")),
        Ok(Mode::Unspecified | Mode::Exclude) => Ok(SeenRule::Exclude),
        Ok(Mode::Allow) => Ok(SeenRule::Allow),
        Err(_) => Err(invalid("seen", "a mode that is not known")),
    }
}

fn requirement_from_proto(requirement: v1::Requirement) -> Result<Requirement> {
    use v1::requirement::Is;
    let attribute = requirement.attribute;
    if attribute.is_empty() {
        return Err(invalid("require", "attribute is missing"));
    }
    let is = match requirement.is {
        Some(Is::Equals(text)) => Condition::Equals(text),
        Some(Is::AtLeast(least)) => Condition::AtLeast(least),
        Some(Is::AtMost(most)) => Condition::AtMost(most),
        Some(Is::Present(true)) => Condition::Present,
        Some(Is::Present(false)) => Condition::Absent,
        None => return Err(invalid("require", "the condition is missing")),
    };
    Ok(Requirement { attribute, is })
}

fn boost_from_proto(boost: v1::Boost) -> Result<Boost> {
    use v1::boost::On;
    let on = match boost.on {
        Some(On::ItemId(item)) => Matches::Item(ItemId::new(item)?),
        Some(On::Category(category)) => Matches::Category(category),
        Some(On::Attribute(requirement)) => {
            Matches::Attribute(requirement_from_proto(requirement)?)
        }
        None => {
            return Err(invalid(
                "boosts",
                "item_id, category or attribute is missing",
            ));
        }
    };
    Ok(Boost { on, by: boost.by })
}

fn experiment_from_proto(experiment: v1::Experiment) -> Result<Experiment> {
    let variant = |variant: v1::Variant| {
        Ok(Variant {
            name: variant.name,
            weight: variant.weight.unwrap_or(1),
            rules: variant.rules.map(rules_from_proto).transpose()?,
            channel: Some(variant.channel).filter(|channel| !channel.is_empty()),
        })
    };
    let variants = experiment.variants.into_iter().map(variant);
    let experiment = Experiment {
        name: experiment.name,
        variants: variants.collect::<Result<_>>()?,
    };
    experiment.validate()?;
    Ok(experiment)
}

/// Rules on the wire.
pub(crate) fn rules_to_proto(rules: &Rules) -> v1::Rules {
    use v1::seen_rule::Mode;
    let (mode, for_ms) = match rules.seen {
        SeenRule::Exclude => (Mode::Exclude, 0),
        SeenRule::ExcludeForMs(ms) => (Mode::ExcludeFor, ms),
        SeenRule::Allow => (Mode::Allow, 0),
    };
    let ids = |ids: &BTreeSet<ItemId>| ids.iter().map(|id| id.as_str().to_owned()).collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let exploration = match rules.exploration {
        Exploration::Off => None,
        Exploration::Epsilon(share) => Some(v1::exploration::Kind::Epsilon(share)),
        Exploration::Thompson(places) => Some(v1::exploration::Kind::Thompson(count(places))),
    };
    v1::Rules {
        seen: Some(v1::SeenRule {
            mode: mode.into(),
            for_ms,
        }),
        allow: ids(&rules.allow),
        deny: ids(&rules.deny),
        categories: rules.categories.iter().cloned().collect(),
        deny_categories: rules.deny_categories.iter().cloned().collect(),
        per_category: count(rules.per_category),
        require: rules.require.iter().map(requirement_to_proto).collect(),
        boosts: rules.boosts.iter().map(boost_to_proto).collect(),
        diversity: rules.diversity,
        exploration: exploration.map(|kind| v1::Exploration { kind: Some(kind) }),
    }
}

fn requirement_to_proto(requirement: &Requirement) -> v1::Requirement {
    use v1::requirement::Is;
    let is = match &requirement.is {
        Condition::Equals(text) => Is::Equals(text.clone()),
        Condition::AtLeast(least) => Is::AtLeast(*least),
        Condition::AtMost(most) => Is::AtMost(*most),
        Condition::Present => Is::Present(true),
        Condition::Absent => Is::Present(false),
    };
    v1::Requirement {
        attribute: requirement.attribute.clone(),
        is: Some(is),
    }
}

fn boost_to_proto(boost: &Boost) -> v1::Boost {
    use v1::boost::On;
    let on = match &boost.on {
        Matches::Item(item) => On::ItemId(item.as_str().to_owned()),
        Matches::Category(category) => On::Category(category.clone()),
        Matches::Attribute(requirement) => On::Attribute(requirement_to_proto(requirement)),
    };
    v1::Boost {
        on: Some(on),
        by: boost.by,
    }
}

/// An experiment on the wire.
pub(crate) fn experiment_to_proto(experiment: &Experiment) -> v1::Experiment {
    let variants = experiment.variants.iter().map(|variant| v1::Variant {
        name: variant.name.clone(),
        weight: Some(variant.weight),
        rules: variant.rules.as_ref().map(rules_to_proto),
        channel: variant.channel.clone().unwrap_or_default(),
    });
    v1::Experiment {
        name: experiment.name.clone(),
        variants: variants.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_crosses_the_wire() {
        for json in [
            "{}",
            r#"{"seen": {"exclude_for_ms": 7}, "allow": ["a"], "deny": ["b"], "categories": ["c"],
                "deny_categories": ["d"], "per_category": 3, "diversity": 0.25,
                "require": [{"attribute": "stock", "is": {"at_least": 1}},
                    {"attribute": "x", "is": "absent"}, {"attribute": "y", "is": {"equals": "z"}}],
                "boosts": [{"on": {"category": "new"}, "by": 0.5}, {"on": {"item": "i"}, "by": -2},
                    {"on": {"attribute": {"attribute": "s", "is": {"at_most": 2}}}, "by": 1}],
                "exploration": {"epsilon": 0.125}}"#,
            r#"{"seen": "allow", "exploration": {"thompson": 2},
                "require": [{"attribute": "p", "is": "present"}]}"#,
        ] {
            let rules: Rules = serde_json::from_str(json).unwrap();
            assert_eq!(rules_from_proto(rules_to_proto(&rules)).unwrap(), rules);
            let experiment = Experiment {
                name: "e".into(),
                variants: vec![Variant {
                    name: "v".into(),
                    weight: 3,
                    rules: Some(rules),
                    channel: Some("tutorial".into()),
                }],
            };
            let back = experiment_from_proto(experiment_to_proto(&experiment)).unwrap();
            assert_eq!(back, experiment);
        }
    }

    #[test]
    fn what_is_left_out_is_named_or_has_its_default() {
        let variant = v1::Variant::default();
        let experiment = v1::Experiment {
            name: "e".into(),
            variants: vec![variant],
        };
        let read = experiment_from_proto(experiment.clone()).unwrap();
        assert_eq!(
            (read.variants[0].weight, &read.variants[0].rules),
            (1, &None)
        );
        let twice = v1::SetExperimentsRequest {
            experiments: vec![experiment.clone(), experiment],
        };
        assert!(experiments_to_domain(twice).is_err());
        let field = |rules: v1::Rules| match rules_from_proto(rules) {
            Err(crate::Error::Recsys(recsys::Error::Invalid { field, .. })) => field,
            other => panic!("{other:?}"),
        };
        let seen = v1::SeenRule { mode: 3, for_ms: 1 };
        let cases = [
            (
                v1::Rules {
                    seen: Some(seen),
                    ..v1::Rules::default()
                },
                "seen",
            ),
            (
                v1::Rules {
                    require: vec![v1::Requirement::default()],
                    ..v1::Rules::default()
                },
                "require",
            ),
            (
                v1::Rules {
                    boosts: vec![v1::Boost::default()],
                    ..v1::Rules::default()
                },
                "boosts",
            ),
            (
                v1::Rules {
                    diversity: f32::NAN,
                    ..v1::Rules::default()
                },
                "diversity",
            ),
        ];
        for (rules, expected) in cases {
            assert_eq!(field(rules), expected);
        }
    }
}
