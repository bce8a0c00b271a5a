//! The recommender inside a program of one's own: events in, lists with reasons out, rules that
//! change while it runs. No runtime, no thread, no clock.

use recsys::{
    CatalogueItem, Command, EventType, ItemId, Recommender, Request, Rules, UserEvent, UserId,
};

fn main() -> recsys::Result<()> {
    let mut shop = Recommender::in_memory()?;
    for (id, category, name) in [
        ("p1", "coffee", "Espresso machine"),
        ("p2", "coffee", "Grinder"),
        ("p3", "coffee", "Beans"),
        ("p4", "tea", "Teapot"),
        ("p5", "tea", "Sencha"),
    ] {
        shop.upsert_item(CatalogueItem::new(ItemId::new(id)?, category, name))?;
    }
    let visits = [
        ("ann", ["p1", "p2", "p3"]),
        ("bob", ["p1", "p3", "p2"]),
        ("cleo", ["p4", "p5", "p3"]),
        ("dan", ["p4", "p5", "p1"]),
    ];
    for (visit, (user, items)) in visits.into_iter().enumerate() {
        for (n, item) in items.into_iter().enumerate() {
            let at_ms = (visit * 600_000 + n * 20_000) as i64;
            shop.observe(&UserEvent::new(user, item, EventType::Purchase, at_ms)?)?;
        }
    }
    let guest = UserId::new("eve")?;
    shop.observe(&UserEvent::new("eve", "p1", EventType::Like, 3_000_000)?)?;
    println!("for eve, who liked the espresso machine:");
    for item in shop.recommend(&guest, 3)? {
        println!("  {:<3} {:>6.3}  {}", item.item_id, item.score, item.reason);
    }

    let rules = Rules {
        deny_categories: ["coffee".into()].into(),
        ..Rules::default()
    };
    shop.apply(&Command::Rules(rules))?;
    println!("without coffee:");
    for item in shop.recommend(&guest, 3)? {
        println!("  {:<3} {:>6.3}  {}", item.item_id, item.score, item.reason);
    }

    let (engine, records) = shop.parts();
    let why = engine.explain(records, &Request::new(guest, 3), &ItemId::new("p2")?)?;
    println!("why not the grinder? {:?}", why.outcome);
    Ok(())
}
