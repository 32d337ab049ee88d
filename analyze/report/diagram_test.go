package report

import (
	"slices"
	"testing"

	"ephemera/analyze"
)

// diagramCases are rule sets of different networks, each with what is drawn.
var diagramCases = []struct {
	name                   string
	keep                   func(analyze.RuleUse) bool
	nat                    bool
	nodes, gates, callouts int
	subnets                int
}{
	{"NAT gateway", func(analyze.RuleUse) bool { return true }, true, 3, 7, 1, 2},
	{"client and NAT gateway in one subnet", func(u analyze.RuleUse) bool {
		return u.Filter == "sg" || u.Point == analyze.P3 || u.Point == analyze.P4
	}, true, 3, 3, 1, 1},
	{"public client", func(u analyze.RuleUse) bool { return u.Point == analyze.P1 || u.Point == analyze.P6 }, false, 2, 3, 0, 1},
	{"security group only", func(u analyze.RuleUse) bool { return u.Filter == "sg" }, false, 2, 1, 0, 1},
	{"way back only", func(u analyze.RuleUse) bool { return u.Number >= 9 }, true, 3, 3, 1, 2},
}

func diagramCase(i int) *analyze.Result {
	c := diagramCases[i]
	r := fixture()
	r.Rules = slices.DeleteFunc(r.Rules, func(u analyze.RuleUse) bool { return !c.keep(u) })
	if !c.nat {
		sessions := fixtureSessions()
		for i := range sessions {
			sessions[i].NATInterface = ""
		}
		r.Sessions = analyze.RowsOf(sessions...)
	}
	return r
}

func TestDiagram(t *testing.T) {
	for i, c := range diagramCases {
		t.Run(c.name, func(t *testing.T) {
			d := newDiagram(diagramCase(i))
			if len(d.Nodes) != c.nodes || len(d.Gates) != c.gates || len(d.Callouts) != c.callouts || len(d.Subnets) != c.subnets {
				t.Errorf("got %d nodes, %d gates, %d callouts, %d subnets; want %d, %d, %d, %d",
					len(d.Nodes), len(d.Gates), len(d.Callouts), len(d.Subnets), c.nodes, c.gates, c.callouts, c.subnets)
			}
			checkOverlaps(t, d)
		})
	}
}

// checkOverlaps fails when gates or nodes lie on each other or outside.
func checkOverlaps(t *testing.T, d *diagram) {
	t.Helper()
	var boxes []box
	for _, g := range d.Gates {
		boxes = append(boxes, box{X: g.X, Y: g.Y, W: gateWidth, H: g.H, Label: g.Title})
	}
	for _, n := range d.Nodes {
		b := n.box
		b.Label = n.Icon
		boxes = append(boxes, b)
	}
	for i, a := range boxes {
		if a.X < 0 || a.Y < 0 || a.X+a.W > d.Width || a.Y+a.H > d.Height {
			t.Errorf("%v is outside of %d x %d", a, d.Width, d.Height)
		}
		for _, b := range boxes[i+1:] {
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%v lies on %v", a, b)
			}
		}
	}
}

func TestDiagramNeedsRules(t *testing.T) {
	if d := newDiagram(&analyze.Result{Rules: []analyze.RuleUse{{Number: 1}}}); d != nil {
		t.Errorf("got %v, want nil: no rule has a point", d)
	}
}
