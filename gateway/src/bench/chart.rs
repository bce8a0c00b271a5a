//! Plots as SVG text: bars, lines, and nothing that needs a script.

use std::fmt::Write;

/// Colour classes of the page, one a backend: its style sheet says what they are.
pub(crate) fn class(index: usize) -> String {
    format!("c{}", index % 6)
}

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 62.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;

/// Horizontal bars with their values written out.
pub(crate) fn bars(bars: &[(String, usize, f64)], label: impl Fn(f64) -> String) -> String {
    let most = bars
        .iter()
        .map(|(_, _, value)| *value)
        .fold(0.0, f64::max)
        .max(1e-12);
    let row = 30.0;
    let height = row * bars.len() as f64 + 4.0;
    let (name_width, label_width) = (90.0, 80.0);
    let room = WIDTH - name_width - label_width;
    let mut svg = open(height);
    for (i, (name, colour, value)) in bars.iter().enumerate() {
        let y = row * i as f64 + 4.0;
        let width = (room * value / most).max(1.0);
        let middle = y + row / 2.0;
        let _ = write!(
            svg,
            "<text x='{:.1}' y='{middle:.1}' class='name'>{}</text>\
             <rect x='{name_width}' y='{y:.1}' width='{width:.1}' height='{:.1}' rx='3' class='{}'/>\
             <text x='{:.1}' y='{middle:.1}' class='value'>{}</text>",
            name_width - 8.0,
            escape(name),
            row - 8.0,
            class(*colour),
            name_width + width + 6.0,
            escape(&label(*value)),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How the axes run.
pub(crate) struct Axes<'a> {
    /// Places on the x axis and what stands there.
    pub(crate) x_ticks: Vec<(f64, String)>,
    pub(crate) y_label: &'a dyn Fn(f64) -> String,
    pub(crate) logarithmic: bool,
}

/// Lines over a common x axis.
pub(crate) fn lines(lines: &[Line], axes: &Axes<'_>) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let x_max = all().map(|(x, _)| x).fold(0.0, f64::max).max(1e-9);
    let y_max = all().map(|(_, y)| y).fold(0.0, f64::max).max(1e-3);
    let y_min = all()
        .map(|(_, y)| y)
        .filter(|y| *y > 0.0)
        .fold(y_max, f64::min);
    let scale: Box<dyn Fn(f64) -> f64> = if axes.logarithmic {
        let (low, high) = (y_min.log10().floor(), y_max.log10().ceil());
        let span = (high - low).max(1.0);
        Box::new(move |y: f64| (y.max(1e-12).log10().max(low) - low) / span)
    } else {
        Box::new(move |y| y / (y_max * 1.05))
    };
    let px = |x: f64| LEFT + (WIDTH - LEFT - RIGHT) * x / x_max;
    let py = |y: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * scale(y);
    let mut svg = open(HEIGHT);
    for y in y_ticks(y_min, y_max, axes.logarithmic) {
        let at = py(y);
        let _ = write!(
            svg,
            "<line x1='{LEFT}' x2='{:.1}' y1='{at:.1}' y2='{at:.1}' class='grid'/>\
             <text x='{:.1}' y='{at:.1}' class='name'>{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            escape(&(axes.y_label)(y)),
        );
    }
    for (x, text) in &axes.x_ticks {
        let _ = write!(
            svg,
            "<text x='{:.1}' y='{:.1}' class='tick'>{}</text>",
            px(*x),
            HEIGHT - BOTTOM + 18.0,
            escape(text),
        );
    }
    for line in lines {
        let mut points = String::new();
        for (x, y) in &line.points {
            let _ = write!(points, "{:.1},{:.1} ", px(*x), py(*y));
        }
        let _ = write!(
            svg,
            "<polyline points='{}' class='line {}'/>",
            points.trim(),
            class(line.colour)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(height: f64) -> String {
    format!("<svg viewBox='0 0 {WIDTH} {height:.0}' role='img' xmlns='http://www.w3.org/2000/svg'>")
}

fn y_ticks(min: f64, max: f64, logarithmic: bool) -> Vec<f64> {
    if logarithmic {
        let (low, high) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        return (low..=high).map(|power| 10f64.powi(power)).collect();
    }
    let rough = max / 4.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * unit)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (0..=4)
        .map(|n| f64::from(n) * step)
        .filter(|y| *y <= max * 1.05)
        .collect()
}

/// Text within markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}
