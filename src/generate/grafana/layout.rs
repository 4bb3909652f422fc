//! Where panels stand: rows of 24 columns, filled from left to right.

use serde_json::{Value, json};

use super::panel::{Panel, id_of};

const COLUMNS: u64 = 24;

#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) panels: Vec<Value>,
    y: u64,
}

impl Layout {
    /// A row with its panels, which are within it while it is collapsed.
    pub(super) fn row(&mut self, title: &str, collapsed: bool, panels: Vec<Panel>) {
        if panels.is_empty() {
            return;
        }
        let row_y = self.y;
        self.y += 1;
        let (mut x, mut height) = (0, 0);
        let mut placed = Vec::new();
        for panel in &panels {
            if x + panel.width > COLUMNS {
                self.y += height;
                (x, height) = (0, 0);
            }
            placed.push(panel.json(x, self.y));
            x += panel.width;
            height = height.max(panel.height);
        }
        self.y += height;
        let (inside, outside) = if collapsed { (placed, Vec::new()) } else { (Vec::new(), placed) };
        self.panels.push(json!({
            "id": id_of(&format!("row {title}")),
            "type": "row",
            "title": title,
            "collapsed": collapsed,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": row_y },
            "panels": inside,
        }));
        self.panels.extend(outside);
        if collapsed {
            // Nothing of it is seen.
            self.y = row_y + 1;
        }
    }
}
