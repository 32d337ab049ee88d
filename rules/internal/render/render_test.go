package render

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/internal/rulestest"
)

// A comment never becomes anything else: each line begins with the comment
// sign and is printable, whatever the text.
func TestComment(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		text := hostile(rng)
		for _, line := range append(Comment(text, text), Verbatim(text)) {
			if !strings.HasPrefix(line, "#") || !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q: %q", text, line)
			}
		}
	}
}

// hostile joins pieces of hostile text, and any characters.
func hostile(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(6) {
		b.WriteString(rulestest.Hostile[rng.IntN(len(rulestest.Hostile))])
		b.WriteRune(rng.Int32N(unicode.MaxRune + 1))
		b.WriteByte(byte(rng.Uint32()))
	}
	return b.String()
}

func TestLine(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {" a \n b\t", "a b"}, {"a\u2028b\u0085c", "a b c"}, {"nul\x00 esc\x1b", `nul\x00 esc\x1b`},
		{"\u202eevil", `\u202eevil`}, {"\xff", "\ufffd"}, {"it's \"x\" \\", `it's "x" \`}, {"Zürich", "Zürich"},
	} {
		if got := Line(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("word ", 40)
	for _, test := range []struct{ in, second string }{{long, "# word"}, {"- " + long, "#   word"}, {strings.Repeat("x", 300), ""}} {
		lines := Comment(test.in)
		if len(lines) > 1 && !strings.HasPrefix(lines[1], test.second) || len(lines) == 1 != (test.second == "") {
			t.Errorf("%q: got %q", test.in, lines)
		}
		if got := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(lines, " "), "#", "")), " "); got != Line(test.in) {
			t.Errorf("%q: words are lost: %q", test.in, got)
		}
	}
}

func TestLabels(t *testing.T) {
	acl := func(id, name string) *rules.NetworkACL { return &rules.NetworkACL{ID: id, Name: name} }
	set := rules.RuleSet{
		ACLs: []*rules.NetworkACL{
			acl("acl-1", "Private NACL"), acl("acl-2", "public"), acl("acl-3", "-Public-"), acl("acl-4", ""), acl("acl-5", "プライベート"),
			acl("acl-6", strings.Repeat("long ", 20)),
		},
		Groups: []*rules.SecurityGroup{{ID: "sg-1", Name: "private/nacl"}, {ID: "sg-2", Name: "default"}},
	}
	want := map[string]string{
		"acl-1": "private_nacl_acl_1", "sg-1": "private_nacl_sg_1", "acl-2": "public_acl_2", "acl-3": "public_acl_3",
		"acl-4": "acl_4", "acl-5": "acl_5", "acl-6": "long_long_long_long_long_long_long_long_long_lon", "sg-2": "default",
	}
	if got := labelsOf(set); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestNames(t *testing.T) {
	var n Names
	for _, want := range []string{"a", "a_2", "a_3"} {
		if got := n.Unique("a", "_"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := n.Unique("a_2", "_"); got != "a_2_2" {
		t.Errorf("got %s", got)
	}
	g := Group{Label: "ftp"}
	for prefix, want := range map[string]string{
		"0.0.0.0/0": "ftp_tcp_from_anywhere", "::/0": "ftp_tcp_from_anywhere_ipv6", "10.0.0.0/8": "ftp_tcp_from_10_0_0_0_8",
	} {
		r := Rule{GroupRule: rules.GroupRule{Protocol: 6, Prefix: netip.MustParsePrefix(prefix)}, Direction: flow.Ingress}
		if got := g.RuleName(r); got != want {
			t.Errorf("%s: got %s, want %s", prefix, got, want)
		}
	}
}

// The history of each item: what was there before, and what is gone.
func TestSheet(t *testing.T) {
	s, err := NewSheet(rulestest.Revision())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, a := range s.ACLs {
		for _, e := range a.Entries {
			if e.Changed() {
				lines = append(lines, a.EntryName(e)+": "+e.Was.String())
			}
		}
		for _, e := range a.Gone {
			lines = append(lines, "gone: "+a.EntryName(e)+": "+e.Note)
		}
	}
	for _, g := range s.Groups {
		for _, r := range g.Rules {
			if r.Exists {
				lines = append(lines, "exists: "+g.RuleName(r))
			}
		}
		for _, r := range g.Gone {
			lines = append(lines, "gone: "+g.RuleName(r)+": "+r.Note)
		}
	}
	want := []string{
		"private_subnets_ingress_100: rule 100 allow tcp 1024-65535 from 0.0.0.0/0",
		"private_subnets_ingress_120: rule 120 allow icmp from 0.0.0.0/0",
		"private_subnets_egress_110: rule 110 allow tcp 1024-65535 to 0.0.0.0/0",
		"public_ingress_100: rule 100 allow tcp 1024-49999 from 0.0.0.0/0",
		"gone: public_ingress_90: It denied data connections of 7 sessions.",
		"exists: ftp_server_tcp_21_from_10_0_0_0_16",
		"exists: ftp_server_all_to_anywhere",
		"gone: ftp_server_tcp_1024_65535_from_10_0_0_0_16: Far wider than what was seen.",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// What EC2 does not look at is no change.
func TestChanged(t *testing.T) {
	all := netip.MustParsePrefix("0.0.0.0/0")
	x := rules.Entry{RuleNumber: 1, Protocol: 47, Prefix: all, ICMPType: -1, ICMPCode: -1}
	for _, test := range []struct {
		change func(*rules.Entry)
		want   bool
	}{
		{func(*rules.Entry) {}, false},
		{func(e *rules.Entry) { e.ICMPType, e.ICMPCode = 0, 0 }, false},
		{func(e *rules.Entry) { e.HasPorts, e.Ports = true, rules.PortRange{From: 1, To: 2} }, false},
		{func(e *rules.Entry) { e.Protocol = 50 }, true},
		{func(e *rules.Entry) { e.Allow = true }, true},
	} {
		y := x
		test.change(&y)
		if got := (Entry{Entry: x, Was: &y}).Changed(); got != test.want {
			t.Errorf("%+v: got %t", y, got)
		}
	}
}
