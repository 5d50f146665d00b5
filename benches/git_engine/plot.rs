//! Line plots with logarithmic axes as SVG.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::number;

/// A plot of some curves.
pub(crate) struct Plot {
    /// Above it.
    pub(crate) title: String,
    /// Below the horizontal axis.
    pub(crate) x: String,
    /// Beside the vertical axis.
    pub(crate) y: String,
    /// The curves.
    pub(crate) series: Vec<Series>,
}

/// One curve; points without positive coordinates are left out.
pub(crate) struct Series {
    /// For the legend.
    pub(crate) name: String,
    /// x and y.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 112.0;
/// Told apart by the colour-blind too (Okabe and Ito); every second curve is dashed as well.
const COLOURS: [&str; 4] = ["#d55e00", "#0072b2", "#e69f00", "#56b4e9"];

/// One logarithmic axis on the picture.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let least = values.clone().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let (from, to) =
            if least.is_finite() { (least.log10().floor(), most.log10().ceil()) } else { (0.0, 1.0) };
        Self { from, to: if to > from { to } else { from + 1.0 }, start, end }
    }

    fn at(&self, value: f64) -> f64 {
        self.start + (value.log10() - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|power| 10f64.powi(power))
    }
}

impl Plot {
    /// Draws it into a file.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.draw())
    }

    fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|s| s.points.iter().copied());
        let x = Axis::over(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
        let y = Axis::over(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut out, (WIDTH / 2.0, 22.0), "middle", &self.title);
        self.grid(&mut out, &x, &y);
        for (number, series) in self.series.iter().enumerate() {
            curve(&mut out, series, number, &x, &y);
        }
        out.push_str("</svg>\n");
        out
    }

    fn grid(&self, out: &mut String, x: &Axis, y: &Axis) {
        let mut line = |x1: f64, y1: f64, x2: f64, y2: f64| {
            let _ = writeln!(
                out,
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
            );
        };
        for value in x.decades() {
            line(x.at(value), y.start, x.at(value), y.end);
        }
        for value in y.decades() {
            line(x.start, y.at(value), x.end, y.at(value));
        }
        for value in x.decades() {
            text(out, (x.at(value), y.start + 16.0), "middle", &plain(value));
        }
        for value in y.decades() {
            text(out, (x.start - 6.0, y.at(value) + 4.0), "end", &plain(value));
        }
        text(out, (f64::midpoint(x.start, x.end), y.start + 36.0), "middle", &self.x);
        let (at, middle) = (18.0, f64::midpoint(y.start, y.end));
        let _ = writeln!(
            out,
            "<text x=\"{at}\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 {at} {middle})\">{}</text>",
            self.y
        );
    }
}

fn curve(out: &mut String, series: &Series, place: usize, x: &Axis, y: &Axis) {
    let colour = COLOURS[place % COLOURS.len()];
    let dash = if place >= 2 { " stroke-dasharray=\"6 4\"" } else { "" };
    let seen = series.points.iter().filter(|p| p.0 > 0.0 && p.1 > 0.0);
    let mut path = String::new();
    for (a, b) in seen {
        let (px, py) = (x.at(*a), y.at(*b));
        let _ = write!(path, "{px:.1},{py:.1} ");
        let _ = writeln!(
            out,
            "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{}: {}</title></circle>",
            number(*a),
            number(*b)
        );
    }
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
        path.trim_end()
    );
    let (lx, ly) = (LEFT + (place % 2) as f64 * 320.0, HEIGHT - 44.0 + (place / 2) as f64 * 20.0);
    let _ = writeln!(
        out,
        "<line x1=\"{lx}\" y1=\"{ly}\" x2=\"{}\" y2=\"{ly}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
        lx + 28.0
    );
    text(out, (lx + 34.0, ly + 4.0), "start", &series.name);
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ =
        writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>", at.0, at.1);
}

/// A power of ten as people write it.
fn plain(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e3 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}
