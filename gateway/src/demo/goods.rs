//! What the demo's shop sells.

use crate::proto::v1::CatalogItem;

/// Category and the names of its items. Items at the same place of related categories go together, and
/// visitors buy accordingly.
pub(super) const SHELVES: [(&str, [&str; 10]); 8] = [
    (
        "coffee",
        [
            "Espresso Machine",
            "Burr Grinder",
            "Milk Frother",
            "Pour-over Kettle",
            "Moka Pot",
            "Ethiopian Beans",
            "Decaf Beans",
            "Travel Mug",
            "Cold Brew Jug",
            "Descaler",
        ],
    ),
    (
        "baking",
        [
            "Stand Mixer",
            "Kitchen Scale",
            "Proofing Basket",
            "Dutch Oven",
            "Rolling Pin",
            "Strong Flour",
            "Sourdough Starter",
            "Cake Tin",
            "Piping Bags",
            "Oven Thermometer",
        ],
    ),
    (
        "desk",
        [
            "Standing Desk",
            "Desk Lamp",
            "Monitor Arm",
            "Mechanical Keyboard",
            "Vertical Mouse",
            "Notebook A5",
            "Fountain Pen",
            "Cable Box",
            "Desk Mat",
            "Headphone Stand",
        ],
    ),
    (
        "audio",
        [
            "Studio Headphones",
            "USB Microphone",
            "Bookshelf Speakers",
            "Phono Preamp",
            "Turntable",
            "Jazz LP Box",
            "Blues LP Box",
            "Earbuds",
            "Audio Interface",
            "Pop Filter",
        ],
    ),
    (
        "running",
        [
            "Trail Shoes",
            "Road Shoes",
            "GPS Watch",
            "Hydration Vest",
            "Head Torch",
            "Energy Gels",
            "Electrolytes",
            "Wool Socks",
            "Rain Jacket",
            "Foam Roller",
        ],
    ),
    (
        "cycling",
        [
            "Gravel Bike",
            "Helmet",
            "Bike Computer",
            "Frame Bag",
            "Front Light",
            "Chain Oil",
            "Inner Tubes",
            "Cycling Socks",
            "Wind Vest",
            "Floor Pump",
        ],
    ),
    (
        "garden",
        [
            "Raised Bed",
            "Pruning Shears",
            "Watering Can",
            "Compost Bin",
            "Solar Lights",
            "Tomato Seeds",
            "Herb Seeds",
            "Gloves",
            "Bird House",
            "Rain Gauge",
        ],
    ),
    (
        "books",
        [
            "The Coffee Atlas",
            "Bread at Home",
            "Quiet Work",
            "Listening Well",
            "Long Runs",
            "Gravel Routes",
            "The Small Garden",
            "A Year in Seeds",
            "The Night Sky",
            "Letters",
        ],
    ),
];

/// The id of an item.
pub(super) fn item_id(shelf: usize, place: usize) -> String {
    let (category, names) = &SHELVES[shelf % SHELVES.len()];
    let name = names[place % names.len()].to_lowercase().replace(' ', "-");
    format!("{category}/{name}")
}

/// Every item with name and category.
pub(crate) fn catalogue() -> Vec<CatalogItem> {
    SHELVES
        .iter()
        .enumerate()
        .flat_map(|(shelf, (category, names))| {
            names
                .iter()
                .enumerate()
                .map(move |(place, name)| CatalogItem {
                    item_id: item_id(shelf, place),
                    name: (*name).to_owned(),
                    category: (*category).to_owned(),
                    ..CatalogItem::default()
                })
        })
        .collect()
}
