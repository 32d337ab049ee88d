package report

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// randomTraffic gives a protocol, its ports, and those that it lets through
// of TCP and UDP; ok when there are any such ports.
func randomTraffic(rng *rand.Rand) (protocol int, ports rules.PortRange, hasPorts bool, through rules.PortSet, ok bool) {
	protocol = []int{rules.AllProtocols, 6, 17, 1, 50}[rng.IntN(5)]
	a, b := uint16(rng.Uint32()), uint16(rng.Uint32())
	ports = rules.PortRange{From: min(a, b), To: max(a, b)}
	hasPorts = (protocol == 6 || protocol == 17) && rng.IntN(3) > 0
	through = rules.AllPorts()
	if hasPorts {
		through = rules.Ports(ports)
	}
	return protocol, ports, hasPorts, through, protocol != 1 && protocol != 50
}

// The words of package rules are read back as the ports that they let
// through, and the rows of rules.csv have the same words.
func TestPortsInWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		protocol, ports, hasPorts, want, ok := randomTraffic(rng)
		peer := netip.MustParsePrefix([]string{"0.0.0.0/0", "203.0.113.10/32", "::/0"}[rng.IntN(3)])
		e := rules.Entry{RuleNumber: 1 + rng.IntN(32766), Allow: rng.IntN(4) > 0, Egress: rng.IntN(2) == 0, Protocol: protocol, Prefix: peer, Ports: ports, HasPorts: hasPorts, ICMPType: -1, ICMPCode: -1}
		entryWant, entryOK := want, ok
		if !e.Allow {
			entryWant, entryOK = rules.PortSet{}, true
		}
		expectPorts(t, e.String(), entryWant, entryOK)
		r := rules.GroupRule{Protocol: protocol, Ports: ports, HasPorts: hasPorts, Prefix: peer, ICMPType: -1, ICMPCode: -1}
		expectPorts(t, r.Words(e.Direction()), want, ok)
		if !ok {
			continue
		}
		row := analyze.RuleChange{Filter: "nacl", Direction: e.Direction(), RuleNumber: e.RuleNumber, Action: "deny", Protocol: flow.Proto(protocol).String(), CIDR: peer.String()}
		if e.Allow {
			row.Action = "allow"
		}
		if protocol == rules.AllProtocols {
			row.Protocol = "all"
		}
		if hasPorts {
			row.FromPort, row.ToPort = fmt.Sprint(ports.From), fmt.Sprint(ports.To)
		}
		if got := entryWords(row); got != e.String() {
			t.Fatalf("got %q, want %q", got, e)
		}
		row.Filter = "sg"
		if got := entryWords(row); got != r.Words(e.Direction()) {
			t.Fatalf("got %q, want %q", got, r.Words(e.Direction()))
		}
	}
}

func expectPorts(t *testing.T, words string, want rules.PortSet, wantOK bool) {
	t.Helper()
	got, ok := portsIn(words)
	if ok != wantOK || ok && !got.Equal(want) {
		t.Fatalf("%q: got %v, %v, want %v, %v", words, got, ok, want, wantOK)
	}
}

func TestCountPorts(t *testing.T) {
	for _, c := range []struct {
		entries string // by ";"
		want    int
	}{
		{"", -1}, {hostile, -1}, {"rule", -1}, {"rule 1 allow", -1}, {"tcp 70000 to x", -1}, {"* deny all", -1},
		{"tcp 21 to 203.0.113.0/24", 1}, {"all to sg-0a1", 65536}, {"rule 100 allow tcp 1024-65535 to 0.0.0.0/0", 64512},
		{"rule 1 allow tcp 40150 to 0.0.0.0/0;rule 2 allow tcp 40000-40200 to 10.0.0.1/32", 201},
		{"rule 1 deny tcp 3389 from 0.0.0.0/0;rule 2 allow udp 53 from 10.0.0.0/8", 1},
	} {
		var entries []string
		if c.entries != "" {
			entries = strings.Split(c.entries, ";")
		}
		if got := countPorts(entries); got != c.want {
			t.Errorf("%q: got %d, want %d", c.entries, got, c.want)
		}
	}
}

func TestNewComparison(t *testing.T) {
	const today, narrow = "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", "rule 110 allow tcp 50000-50100 to 0.0.0.0/0"
	backtest := &analyze.Backtest{Lost: 1, Tested: 7, Outside: 0.034}
	rule := func(verdict string, proposed ...string) analyze.RuleUse {
		return analyze.RuleUse{FilterID: "acl-1", Direction: flow.Egress, Entries: []string{today}, Verdict: verdict, Proposed: proposed, Why: "w", Backtest: backtest}
	}
	replaced := []analyze.RuleChange{
		{Filter: "nacl", FilterID: "acl-1", Direction: flow.Egress, RuleNumber: 110, Action: "allow", Protocol: "tcp", CIDR: "0.0.0.0/0", FromPort: "1", ToPort: "65535", Change: "replace", Replaces: today},
		{Filter: "nacl", FilterID: "acl-2", Direction: flow.Egress, Replaces: today},
		{Filter: "nacl", FilterID: "acl-1", Direction: flow.Ingress, Replaces: today},
	}
	group := analyze.RuleUse{FilterID: "sg-1", Entries: []string{"all to 0.0.0.0/0 (sg-1)"}, Proposed: []string{"all to 0.0.0.0/0"}, Direction: flow.Egress, Verdict: "narrow", Why: "w"}
	for _, c := range []struct {
		name            string
		rule            analyze.RuleUse
		changes         []analyze.RuleChange
		kept            []analyze.KeptRule
		becomes, reason string
		today, then     int
	}{
		{"narrow", rule("narrow", narrow), nil, nil, "narrow", "Back-test: 1 of 7 lost; the next lies outside with at most 3.4 %.", 64512, 101},
		{"fix", rule("fix", narrow), nil, nil, "fix", "w", 64512, 101},
		{"same", rule("narrow", today), nil, nil, "stays", "w", 64512, 64512},
		{"same, kept", rule("narrow", today), nil, []analyze.KeptRule{{FilterID: "acl-2", Why: "x"}, {FilterID: "acl-1", Direction: flow.Egress, Rule: today, Why: "k"}}, "stays", "k", 64512, 64512},
		{"kept in the other direction", rule("narrow", today), nil, []analyze.KeptRule{{FilterID: "acl-1", Direction: flow.Ingress, Rule: today, Why: "k"}}, "stays", "w", 64512, 64512},
		{"whole filter kept", rule("narrow", today), nil, []analyze.KeptRule{{FilterID: "acl-1", Rule: "all entries", Why: "k"}}, "stays", "k", 64512, 64512},
		{"group kept", group, nil, []analyze.KeptRule{{FilterID: "sg-1", Direction: flow.Egress, Rule: "all to 0.0.0.0/0", Why: "k"}}, "stays", "k", 65536, 65536},
		{"entry of another rule", rule("keep", narrow), nil, nil, "changes", "Its entries change for what else passes them.", 64512, 101},
		{"wider for another rule", rule("narrow"), replaced, nil, "changes", "Its entries change for what else passes them.", 64512, 65535},
	} {
		got := newComparison(c.rule, &analyze.Result{Changes: c.changes, Proposal: &analyze.Proposal{Kept: c.kept}})
		if got.Becomes != c.becomes || got.Reason != c.reason || got.Today != c.today || got.Then != c.then {
			t.Errorf("%s: got %s, %q, %d, %d, want %s, %q, %d, %d", c.name, got.Becomes, got.Reason, got.Today, got.Then, c.becomes, c.reason, c.today, c.then)
		}
	}
}

// Rules that see the same ports share a curve; one that nobody picks ports
// for has none.
func TestNewCurves(t *testing.T) {
	curves := newCurves(fixtureRules())
	var got []string
	for _, c := range curves {
		got = append(got, fmt.Sprintf("%s by %s: %d points, now %v, proposed %v", c.Rules, c.ChosenBy, len(c.Points), c.Now, c.Proposal))
	}
	want := []string{
		"Rules 2, 4, 6 and 8 by server: 6 points, now [{1 64512}], proposed [{1 101}]",
		"Rule 9 by nat-gateway: 3 points, now [{1 32768}], proposed [{1 64512}]",
		"Rules 10 and 11 by client-os: 5 points, now [{1 64512}], proposed [{1 28232}]",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := curves[0].Steps, "96 ports in 1 entry, 68 ports in 2 entries, 41 ports in 3 entries, 12 ports in 12 entries"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := curves[0].Fits, []fit{{"a configured range 50000-50100", "94 %"}, {"Windows, macOS 49152-65535", "6 %"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := curves[2].Backtest, "1 of 7 lost; with 95 % between 0.4 and 58 %; the next connection lies outside with at most 3.4 %"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNewFit(t *testing.T) {
	for words, want := range map[string]fit{
		"Linux 32768-60999=0.973":                {"Linux 32768-60999", "97 %"},
		"a range near 50000-50099 50000-50099=1": {"a range near 50000-50099", "100 %"},
		"x=0.004":                                {"x", "0.4 %"}, "": {}, "=": {Name: "="}, "no number": {Name: "no number"}, "a=b=0": {"a=b", "0 %"},
	} {
		if got := newFit(words); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}

// A bound is never shown as narrower than it is.
func TestPercent(t *testing.T) {
	for _, c := range []struct {
		share float64
		round func(float64) float64
		want  string
	}{
		{0, math.Ceil, "0"}, {1, math.Ceil, "100"}, {0.034, math.Ceil, "3.4"}, {0.0341, math.Ceil, "3.5"}, {0.0349, math.Floor, "3.4"},
		{0.116, math.Ceil, "12"}, {0.308, math.Floor, "30"}, {0.00001, math.Ceil, "0.01"}, {0.07, math.Floor, "7"}, {0.29, math.Floor, "29"}, {0.999, math.Round, "100"},
	} {
		if got := percent(c.share, c.round); got != c.want {
			t.Errorf("%v: got %s, want %s", c.share, got, c.want)
		}
	}
}

func TestChangesAsText(t *testing.T) {
	changes := fixtureChanges()
	p := newProposal(&analyze.Result{Proposal: &analyze.Proposal{}, Changes: []analyze.RuleChange{changes[0], changes[3], changes[4], changes[15]}})
	want := privateACL + ` egress: replace rule 110 allow tcp 1024-65535 to 0.0.0.0/0 by rule 110 allow tcp 8443 to 0.0.0.0/0
` + privateACL + ` egress: add rule 111 allow tcp 50000-50100 to 203.0.113.10/32, in place of rule 110 allow tcp 1024-65535 to 0.0.0.0/0
` + sgID + ` egress: remove tcp 1024-65535 to 203.0.113.0/24
`
	if p.Text != want {
		t.Errorf("got  %s\nwant %s", p.Text, want)
	}
}

func TestSplitNote(t *testing.T) {
	for note, want := range map[string][]string{
		"": nil, "it moves": {"it moves"}, "a; b": {"a", "b"}, "a; ": {"a", ""}, "a;b": {"a;b"},
		"acl-1/egress/10.0.0.1/32/reply (Linux; 97 %); acl-1/egress/10.0.0.2/32/other; and 3 more": {"10.0.0.1/32/reply (Linux; 97 %)", "10.0.0.2/32/other", "and 3 more"},
		"acl-1/ingress/x; acl-2/egress/y": {"acl-1/ingress/x", "acl-2/egress/y"},
		"a (b; c":                         {"a (b; c"}, "a) b; c": {"a) b; c"},
	} {
		if got := splitNote(analyze.RuleChange{FilterID: "acl-1", Direction: flow.Egress, Note: note}); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", note, got, want)
		}
	}
}

func TestChangesAreBounded(t *testing.T) {
	r := fixture()
	one := r.Changes[1]
	for range 2 * maxChanges {
		r.Changes = append(r.Changes, one)
	}
	p := newProposal(r)
	rows := 0
	for _, f := range p.Changed {
		rows += len(f.Rows)
	}
	if rows != maxChanges || p.ChangedTotal != 2*maxChanges+8 || !p.Cut {
		t.Errorf("got %d rows of %d, cut %v; want %d of %d, cut", rows, p.ChangedTotal, p.Cut, maxChanges, 2*maxChanges+8)
	}
	if page := render(t, WriteHTML, r); !bytes.Contains(page, []byte("All entries are in rules.csv.")) {
		t.Error("the page does not say that the list is cut")
	}
}

// What a page says of a proposal depends on what is known.
func TestProposalSection(t *testing.T) {
	const replayed, toReplay, notGiven, nothing = "each replayed against the proposed rules", "replays every connection of the log", "The rules of the VPC were not given", "No rule needs a change"
	for _, c := range []struct {
		name   string
		change func(*analyze.Result)
		want   string
	}{
		{"replayed", func(*analyze.Result) {}, replayed},
		{"not replayed", func(r *analyze.Result) { r.Replay = nil }, toReplay},
		{"no rules", func(r *analyze.Result) { r.Proposal, r.Replay, r.Changes = nil, nil, nil }, notGiven},
		{"no change", func(r *analyze.Result) { r.Changes = r.Changes[:1] }, replayed + " " + nothing},
	} {
		r := fixture()
		c.change(r)
		page := render(t, WriteHTML, r)
		for _, words := range []string{replayed, toReplay, notGiven, nothing} {
			if got, want := bytes.Contains(page, []byte(words)), strings.Contains(c.want, words); got != want {
				t.Errorf("%s: the page says %q: %v, want %v", c.name, words, got, want)
			}
		}
		if !bytes.Contains(page, []byte("<code>"+rulesCommand+"</code>")) {
			t.Errorf("%s: the page does not give the command", c.name)
		}
	}
}
