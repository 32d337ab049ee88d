package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// diagram is the way of a connection through its filters, laid out in the
// user units of an SVG: the way to the server in the upper lane, the way
// back in the lower one. It shows the rules of the Result that have a point,
// and nothing else.
type diagram struct {
	Width, Height int
	Subnets       []box
	Nodes         []node
	Lanes         []lane
	Arrows        []arrow
	Points        []pointMark
	Gates         []gate
	Callouts      []callout
}

type box struct {
	X, Y, W, H int
	Label      string
}

type node struct {
	box
	Icon  string // the id of a symbol in the template
	Lines []string
}

// arrow is the tip of an arrow on a lane.
type arrow struct {
	X, Y int
	Back bool // towards the client
}

// lane is one way, from X1 to X2.
type lane struct {
	X1, X2, Y int
	Label     string
	LabelX    int
}

type pointMark struct {
	X, Y  int
	Point analyze.Point
}

// gate is one filter in one direction, with its rules.
type gate struct {
	X, Y, H  int
	Title    string
	FilterID string
	Rows     []gateRow
	upper    bool
}

type gateRow struct {
	Y    int // relative to the gate
	Rule analyze.RuleUse
}

// Label says in one word what the rule is for.
func (row gateRow) Label() string {
	if row.Rule.Purpose == "reply" {
		return "replies"
	}
	return row.Rule.Purpose
}

// callout names the entry that stopped connections at a rule. Its text is
// to the right of the leader, or to the left where the right has no room.
type callout struct {
	X, FromY, TextY int
	TextX           int
	Left            bool
	Ground          int // the left end of the ground that hides leaders behind the text
	GroundW         int
	Rule            int
	Text            string
}

// Measures of the diagram, in user units; the template uses them too.
const (
	margin       = 14
	nodeWidth    = 106
	gateWidth    = 142
	gateHeader   = 40
	rowHeight    = 42
	gateFooter   = 4
	gap          = 22 // between two gates
	pointGap     = 44 // between a node and a gate, room for the point
	subnetGap    = 34 // between the edges of two subnets
	farGap       = 76 // between the VPC and the server
	laneGap      = 46
	subnetHeader = 30
	calloutLine  = 26
	calloutSide  = 15 // from the leader to the text
	calloutChar  = 9  // the width of a character, on the safe side
)

// stretch is a part of the way between two nodes: the points whose filters
// lie there, in the order of the way.
type stretch struct{ out, back analyze.Point }

var (
	clientStretch = stretch{analyze.P1, analyze.P6}
	innerStretch  = stretch{analyze.P2, analyze.P5}
	outerStretch  = stretch{analyze.P3, analyze.P4}
)

// newDiagram lays out the rules of r, or returns nil when there are none to
// draw.
func newDiagram(r *analyze.Result) *diagram {
	b := diagramBuilder{rules: r.Rules, d: &diagram{}, x: margin}
	if !slices.ContainsFunc(r.Rules, func(u analyze.RuleUse) bool { return u.Point != analyze.NoPoint }) {
		return nil
	}
	b.setLanes()
	viaNAT := passesNAT(r)
	b.addNode("client", clientLines(r))
	start := margin / 2
	b.markPoints(analyze.P1, b.x+pointGap/2, analyze.P6)
	b.addStretch(clientStretch, pointGap)
	if viaNAT {
		start = b.addNAT(start, r)
	}
	b.addSubnet(start, cmp.Or(b.edge, b.x+gap/2), subnetLabel(viaNAT, start == margin/2))
	b.addArrows(b.x + farGap/2)
	b.x += farGap
	b.addNode("server", serverLines(r))
	b.finish(r)
	return b.d
}

// passesNAT reports whether connections of r go through a NAT gateway.
func passesNAT(r *analyze.Result) bool {
	atNAT := func(u analyze.RuleUse) bool { return u.Point > analyze.P1 && u.Point < analyze.P6 }
	return slices.ContainsFunc(r.Rules, atNAT) ||
		anySession(r, func(s analyze.Session) bool { return s.NATInterface != "" })
}

// subnetLabel names the last subnet on the way.
func subnetLabel(viaNAT, first bool) string {
	switch {
	case viaNAT && first:
		return "subnet of the client and the NAT gateway"
	case viaNAT:
		return "subnet of the NAT gateway"
	}
	return "subnet of the client"
}

// diagramBuilder adds parts from left to right; x is the right end of what
// is drawn so far.
type diagramBuilder struct {
	rules []analyze.RuleUse
	d     *diagram
	x     int
	// edge is the middle of the last network ACL: the border of a subnet
	// runs through it. 0 when the last stretch had none.
	edge           int
	upperY, lowerY int // the middles of the lanes
	upperH, lowerH int
}

// setLanes finds the height of both lanes: that of their highest gate.
func (b *diagramBuilder) setLanes() {
	above, below := 0, 0
	for _, g := range b.gatesAt(analyze.P1, analyze.P2, analyze.P3) {
		b.upperH = max(b.upperH, g.H)
		above += stoppedRows(g)
	}
	for _, g := range b.gatesAt(analyze.P4, analyze.P5, analyze.P6) {
		b.lowerH = max(b.lowerH, g.H)
		below += stoppedRows(g)
	}
	b.upperH = max(b.upperH, gateHeight(1))
	b.lowerH = max(b.lowerH, gateHeight(1))
	top := above*calloutLine + subnetHeader
	b.upperY = top + b.upperH/2
	b.lowerY = top + b.upperH + laneGap + b.lowerH/2
	b.d.Height = b.lowerY + b.lowerH/2 + margin + below*calloutLine
}

func gateHeight(rows int) int { return gateHeader + rows*rowHeight + gateFooter }

func stoppedRows(g gate) int {
	n := 0
	for _, row := range g.Rows {
		if row.Rule.Stopped > 0 {
			n++
		}
	}
	return n
}

// gatesAt groups the rules at the points by filter, in their order.
func (b *diagramBuilder) gatesAt(points ...analyze.Point) []gate {
	var gates []gate
	for _, p := range points {
		for _, u := range b.rules {
			if u.Point == p {
				gates = addToGate(gates, u)
			}
		}
	}
	return gates
}

func addToGate(gates []gate, u analyze.RuleUse) []gate {
	i := slices.IndexFunc(gates, func(g gate) bool {
		first := g.Rows[0].Rule
		return first.Point == u.Point && first.Filter == u.Filter && first.FilterID == u.FilterID
	})
	if i < 0 {
		i = len(gates)
		gates = append(gates, gate{Title: gateTitle(u), FilterID: u.FilterID, upper: u.Point <= analyze.P3})
	}
	g := &gates[i]
	g.Rows = append(g.Rows, gateRow{Y: gateHeader + len(g.Rows)*rowHeight, Rule: u})
	g.H = gateHeight(len(g.Rows))
	return gates
}

func gateTitle(u analyze.RuleUse) string {
	way := "out"
	if u.Direction == flow.Ingress {
		way = "in"
	}
	if u.Filter == "sg" {
		return "SG " + way
	}
	return "NACL " + way
}

// addStretch adds the gates of s, a column for each filter, with space
// before the first.
func (b *diagramBuilder) addStretch(s stretch, before int) {
	out, back := b.gatesAt(s.out), b.gatesAt(s.back)
	slices.Reverse(back)
	columns := mergeColumns(out, back)
	b.edge = 0
	for i, filter := range columns {
		if i == 0 {
			b.x += before
		} else {
			b.x += gap
			b.addArrows(b.x - gap/2)
		}
		b.placeColumn(filter, out, back)
	}
	if len(columns) == 0 {
		b.x += before
	}
}

// mergeColumns names the filters of a stretch from left to right.
func mergeColumns(out, back []gate) []string {
	var columns []string
	for _, g := range slices.Concat(out, back) {
		if key := columnKey(g); !slices.Contains(columns, key) {
			columns = append(columns, key)
		}
	}
	return columns
}

func columnKey(g gate) string { return g.Rows[0].Rule.Filter + " " + g.FilterID }

// placeColumn puts the gates of one filter at x, above each other.
func (b *diagramBuilder) placeColumn(key string, out, back []gate) {
	for _, g := range slices.Concat(out, back) {
		if columnKey(g) != key {
			continue
		}
		g.X, g.Y = b.x, b.lowerY-g.H/2
		if g.upper {
			g.Y = b.upperY - g.H/2
		}
		if g.Rows[0].Rule.Filter == "nacl" {
			b.edge = b.x + gateWidth/2
		}
		b.d.Gates = append(b.d.Gates, g)
	}
	b.x += gateWidth
}

// addNAT adds the NAT gateway and the filters on both sides of it, and
// returns where its subnet starts. Without network ACLs between, that is
// where the client's subnet starts.
func (b *diagramBuilder) addNAT(start int, r *analyze.Result) int {
	if len(b.gatesAt(innerStretch.out, innerStretch.back)) > 0 {
		b.addSubnet(start, cmp.Or(b.edge, b.x+gap/2), "subnet of the client")
		b.addArrows(b.x + subnetGap/2)
		start = b.x + subnetGap + gateWidth/2
		b.addStretch(innerStretch, subnetGap)
	}
	b.x += pointGap
	b.markPoints(analyze.P2, b.x-pointGap/2, analyze.P5)
	b.addNode("nat", natLines(r))
	b.markPoints(analyze.P3, b.x+pointGap/2, analyze.P4)
	b.addStretch(outerStretch, pointGap)
	return start
}

func (b *diagramBuilder) markPoints(out analyze.Point, x int, back analyze.Point) {
	b.d.Points = append(b.d.Points,
		pointMark{x, b.upperY, out}, pointMark{x, b.lowerY, back})
}

// addArrows shows the direction of both lanes at x.
func (b *diagramBuilder) addArrows(x int) {
	b.d.Arrows = append(b.d.Arrows, arrow{x, b.upperY, false}, arrow{x, b.lowerY, true})
}

func (b *diagramBuilder) addSubnet(from, to int, label string) {
	top := b.upperY - b.upperH/2 - subnetHeader + 4
	b.d.Subnets = append(b.d.Subnets, box{from, top, to - from, b.lowerY + b.lowerH/2 + 10 - top, label})
}

func (b *diagramBuilder) addNode(icon string, lines []string) {
	top := b.upperY - 40
	b.d.Nodes = append(b.d.Nodes, node{box{b.x, top, nodeWidth, b.lowerY + 34 - top, ""}, icon, lines})
	b.x += nodeWidth
}

// finish adds what needs the whole width.
func (b *diagramBuilder) finish(r *analyze.Result) {
	b.d.Width = b.x + margin
	left, right := margin+nodeWidth, b.x-nodeWidth
	far := ""
	if serversOnInternet(r) {
		far = "internet"
	}
	labelX := right - farGap/2
	b.d.Lanes = []lane{{left, right, b.upperY, far, labelX}, {right, left, b.lowerY, far, labelX}}
	b.addCallouts()
}

// addCallouts names what stopped connections, above the upper lane and
// below the lower one. The rightmost rule gets the line next to its lane, so
// that no leader crosses a text.
func (b *diagramBuilder) addCallouts() {
	up := b.upperY - b.upperH/2 - subnetHeader
	down := b.lowerY + b.lowerH/2 + margin + 16
	gates := slices.Clone(b.d.Gates)
	slices.SortStableFunc(gates, func(x, y gate) int { return cmp.Compare(y.X, x.X) })
	for _, g := range gates {
		for i, row := range slices.Backward(g.Rows) {
			if row.Rule.Stopped == 0 {
				continue
			}
			c := callout{X: g.X + 16 + 22*i, Rule: row.Rule.Number}
			b.placeText(&c, stoppedText(row.Rule))
			if g.upper {
				c.FromY, c.TextY = g.Y, up-8
				up -= calloutLine
			} else {
				c.FromY, c.TextY = g.Y+g.H, down
				down += calloutLine
			}
			b.d.Callouts = append(b.d.Callouts, c)
		}
	}
}

// placeText puts text where it has room, and cuts it when nowhere is enough.
func (b *diagramBuilder) placeText(c *callout, text string) {
	right, left := b.d.Width-c.X-calloutSide-margin, c.X-calloutSide-margin
	c.Left = len(text)*calloutChar > right && left > right
	room := right
	c.TextX = c.X + calloutSide
	if c.Left {
		room = left
		c.TextX = c.X - calloutSide
	}
	c.Text = shortened(text, room/calloutChar)
	c.Ground, c.GroundW = c.TextX, utf8.RuneCountInString(c.Text)*calloutChar
	if c.Left {
		c.Ground -= c.GroundW
	}
}

// compact writes n in at most six characters.
func compact(n int) string {
	switch {
	case n >= 10_000_000:
		return grouped(n/1_000_000) + "M"
	case n >= 1_000_000:
		return shortFloat(float64(n/100_000)/10) + "M"
	case n >= 100_000:
		return grouped(n/1000) + "k"
	}
	return grouped(n)
}

func stoppedText(u analyze.RuleUse) string {
	s := grouped(u.Stopped) + " stopped"
	if len(u.StoppedBy) > 0 {
		s += " by " + strings.Join(stoppedBy(u), ", ")
	}
	return s
}

// stoppedBy names the entries without the filter, which stands beside them.
func stoppedBy(u analyze.RuleUse) []string {
	entries := make([]string, len(u.StoppedBy))
	for i, entry := range u.StoppedBy {
		entries[i] = strings.TrimPrefix(entry, u.FilterID+" ")
	}
	return entries
}

// shortened cuts s to n characters.
func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func clientLines(r *analyze.Result) []string {
	clients := distinct(r.Sessions, func(s analyze.Session) string { return s.ClientAddr.String() })
	return append([]string{"Client"}, countLines(clients, "clients")...)
}

func serverLines(r *analyze.Result) []string {
	servers := distinct(r.Sessions, func(s analyze.Session) string { return s.ServerAddr.String() })
	return append([]string{"FTP server"}, countLines(servers, "servers")...)
}

func natLines(r *analyze.Result) []string {
	gateways := distinct(r.Sessions, func(s analyze.Session) string {
		if !s.NATAddr.IsValid() {
			return ""
		}
		return s.NATAddr.String()
	})
	return append([]string{"NAT gateway"}, countLines(gateways, "addresses")...)
}

// countLines names a single value, and counts several.
func countLines(values []string, many string) []string {
	switch len(values) {
	case 0:
		return nil
	case 1:
		return []string{shortened(values[0], 15)}
	}
	return []string{strconv.Itoa(len(values)) + " " + many}
}

func distinct(sessions *analyze.Rows[analyze.Session], value func(analyze.Session) string) []string {
	seen := map[string]bool{}
	var values []string
	for s := range sessions.All() {
		if v := value(s); v != "" && !seen[v] {
			seen[v] = true
			values = append(values, v)
		}
	}
	return values
}

// serversOnInternet reports whether every server has a public address.
func serversOnInternet(r *analyze.Result) bool {
	private := func(s analyze.Session) bool { return s.ServerAddr.Netip().IsPrivate() }
	return r.Sessions.Len() > 0 && !anySession(r, private)
}

func anySession(r *analyze.Result, is func(analyze.Session) bool) bool {
	for s := range r.Sessions.All() {
		if is(s) {
			return true
		}
	}
	return false
}
