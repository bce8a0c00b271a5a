//! A stateful job in thirty lines: counts words, and answers how often one has come.

use operators::{
    Collector, Element, JobConfig, Operator, OperatorContext, QueryOperator, Result,
    StreamEnvironment, VecSource,
};
use state_backend::{StateStore, ValueDef, ValueState};

const COUNT: ValueDef<u64> = ValueDef::new("count");

#[derive(Default)]
struct WordCount {
    count: ValueState<u64>,
}

impl Operator for WordCount {
    type In = String;
    type Out = (String, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.count = store.value(&COUNT)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<String>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(String, u64)>,
    ) -> Result<()> {
        let n = self.count.get(&mut cx.state)?.copied().unwrap_or(0) + 1;
        self.count.set(&mut cx.state, n)?;
        out.collect((element.value, n));
        Ok(())
    }
}

impl QueryOperator for WordCount {
    type Request = ();
    type Reply = u64;

    fn on_query(&mut self, (): (), cx: &mut OperatorContext<'_>) -> Result<u64> {
        Ok(self.count.get(&mut cx.state)?.copied().unwrap_or(0))
    }
}

fn main() -> Result<()> {
    let env = StreamEnvironment::new();
    let lines = [
        "to be or not to be",
        "that is the question",
        "to die to sleep",
    ];
    let (counts, _how_often) = env
        .source("lines", VecSource::new(lines))
        .flat_map(|line, out| {
            line.split(' ')
                .for_each(|word| out.collect(word.to_owned()));
            Ok(())
        })
        .key_by_ref(|word| word)
        .process_queryable("count", WordCount::default);
    let counts = counts.collect("out");
    env.execute(JobConfig::default().with_parallelism(2))?
        .wait()?;
    let mut counts = counts.take();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    println!("{:?}", counts[0]);
    assert_eq!(counts[0], ("to".to_owned(), 4));
    Ok(())
}
