// Package rulestest has revisions for the tests of what writes them: one as
// from life, and any number at random.
package rulestest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Hostile are texts that break out of a comment, a string or a command in
// some language, if they are let.
var Hostile = []string{
	"a \"quoted\" 'name'", "$(touch /tmp/owned)", "`touch /tmp/owned`", "*/ touch /tmp/owned /*", "${var.x} %{if true}",
	"first\nrm -rf ~\n", "first\r\nrm -rf ~", "next\u2028rm -rf ~\u2029rm -rf ~\u0085rm -rf ~", "nul\x00 bell\a esc\x1b[2J del\x7f",
	"\u202egnihton", "\ufeffbom \ufffe", "# - : ! & * ? | > @ %", "{{ x }} [[ y ]]", "<<EOF\nEOF\n", "'; exit 1; '", "\\", "\\\n", "' \" `", "--- !!binary x",
	"\xff\xfe not UTF-8", "プライベート サブネット", "$${x} $$$${x} %%{y}", "yes", "null", "~", "0x1f", "1e3", "2001-01-01", "<<: *x", "trailing \\",
	"\nresource \"aws_network_acl_rule\" \"x\" {\n  rule_number = 1\n}\n", "\nResources:\n  X: 1\n", "!Ref X", "  leading", "\ttab", "",
}

func entry(number int, egress, allow bool, protocol int, ports, prefix string) rules.Entry {
	e := rules.Entry{
		RuleNumber: number, Egress: egress, Allow: allow, Protocol: protocol,
		Prefix: netip.MustParsePrefix(prefix), ICMPType: -1, ICMPCode: -1,
	}
	if ports != "" {
		e.Ports, e.HasPorts = portRange(ports), true
	}
	return e
}

func icmp(e rules.Entry, icmpType, icmpCode int) rules.Entry {
	e.ICMPType, e.ICMPCode = icmpType, icmpCode
	return e
}

func portRange(text string) (r rules.PortRange) {
	if n, _ := fmt.Sscanf(text, "%d-%d", &r.From, &r.To); n == 1 {
		r.To = r.From
	}
	return r
}

// acl adds the default denies, and sorts.
func acl(id, name string, entries ...rules.Entry) *rules.NetworkACL {
	a := &rules.NetworkACL{ID: id, VPCID: "vpc-0a1", Name: name, Entries: entries, Subnets: []string{"subnet-0a1", "subnet-0b2"}}
	for _, egress := range []bool{false, true} {
		a.Entries = append(a.Entries,
			entry(rules.DefaultRule, egress, false, rules.AllProtocols, "", "0.0.0.0/0"),
			entry(rules.DefaultRule6, egress, false, rules.AllProtocols, "", "::/0"))
	}
	a.Sort()
	return a
}

func rule(protocol int, ports, peer, description string) rules.GroupRule {
	r := rules.GroupRule{Protocol: protocol, ICMPType: -1, ICMPCode: -1, Description: description}
	if ports != "" {
		r.Ports, r.HasPorts = portRange(ports), true
	}
	switch p, err := netip.ParsePrefix(peer); {
	case err == nil:
		r.Prefix = p
	case peer[:3] == "sg-":
		r.GroupRef = peer
	default:
		r.PrefixList = peer
	}
	return r
}

// Revision is as from life: a private network ACL's wide egress entry becomes
// five, a public one's entry is widened and its deny is taken away, and a
// security group gets two rules for one. Names, notes and descriptions are
// such as people write, and such as nobody should.
func Revision() rules.Revision {
	private := acl("acl-0a1b2c3d", `private "subnets"`,
		entry(100, false, true, 6, "1024-65535", "0.0.0.0/0"),
		entry(120, false, true, 1, "", "0.0.0.0/0"),
		entry(130, false, true, 6, "1024-65535", "::/0"),
		entry(100, true, true, 6, "21", "0.0.0.0/0"),
		entry(110, true, true, 6, "1024-65535", "0.0.0.0/0"))
	privateTo := acl(private.ID, private.Name,
		entry(100, false, true, 6, "32768-60999", "0.0.0.0/0"),
		icmp(entry(120, false, true, 1, "", "0.0.0.0/0"), 3, 4),
		entry(130, false, true, 6, "1024-65535", "::/0"),
		icmp(entry(140, false, true, 58, "", "::/0"), 2, 0),
		entry(100, true, true, 6, "21", "0.0.0.0/0"),
		entry(110, true, true, 6, "49152-50175", "203.0.113.10/32"),
		entry(111, true, true, 6, "8192-8200", "198.51.100.0/24"),
		entry(112, true, true, 6, "990", "203.0.113.10/32"),
		entry(113, true, true, 6, "60000-60100", "2001:db8:4::/48"),
		entry(114, true, true, rules.AllProtocols, "", "10.0.0.0/16"))
	public := acl("acl-0f9e8d7c", "public",
		entry(90, false, false, 6, "50000-51000", "0.0.0.0/0"),
		entry(100, false, true, 6, "1024-49999", "0.0.0.0/0"),
		entry(100, true, true, rules.AllProtocols, "", "0.0.0.0/0"))
	publicTo := acl(public.ID, public.Name,
		entry(100, false, true, 6, "1024-65535", "0.0.0.0/0"),
		entry(100, true, true, rules.AllProtocols, "", "0.0.0.0/0"))
	group := &rules.SecurityGroup{
		ID: "sg-0123456789abcdef0", Name: "ftp $(server)", VPCID: "vpc-0a1",
		Ingress: []rules.GroupRule{
			rule(6, "21", "10.0.0.0/16", "control ${connection}"),
			rule(6, "1024-65535", "10.0.0.0/16", "*/ too wide"),
		},
		Egress: []rules.GroupRule{rule(rules.AllProtocols, "", "0.0.0.0/0", "")},
	}
	groupTo := group.Clone()
	groupTo.Ingress = []rules.GroupRule{
		group.Ingress[0],
		rule(6, "49152-50175", "10.0.0.0/16", `passive "data"`),
		rule(6, "49152-50175", "2001:db8::/32", "it's passive data"),
	}
	k := rules.EntryKey
	return rules.Revision{
		From:   rules.RuleSet{ACLs: []*rules.NetworkACL{private, public}, Groups: []*rules.SecurityGroup{group}},
		To:     rules.RuleSet{ACLs: []*rules.NetworkACL{privateTo, publicTo}, Groups: []*rules.SecurityGroup{groupTo}},
		Header: []string{"Proposal for the FTP clients of vpc-0a1.", "", "It stands on 42 sessions from 2026-11-01 to 2026-11-21.\nrm -rf ~"},
		Notes: map[rules.NoteKey]string{
			k(private.ID, privateTo.Entries[0]):                              "Replies to FTP clients on Linux, whose ephemeral ports are 32768-60999.",
			k(private.ID, entry(110, true, true, 6, "", "::/0")):             "Passive data to files.example.com: ports 49152-50175 as of its 227 replies in 31 sessions, all of which are inside what the server says it uses.",
			k(private.ID, entry(111, true, true, 6, "", "::/0")):             "Passive data to AWS Transfer Family $(touch /tmp/owned) */",
			k(private.ID, entry(113, true, true, 6, "", "::/0")):             "IPv6 data\nresource \"x\" \"y\" {}",
			k(public.ID, entry(90, false, true, 6, "", "::/0")).AsGone():     "It denied data connections of 7 sessions.",
			rules.RuleKey(group.ID, flow.Ingress, groupTo.Ingress[1]):        "Passive data, `whoami`",
			rules.RuleKey(group.ID, flow.Ingress, group.Ingress[1]).AsGone(): "Far wider than what was seen.",
		},
	}
}

// RuleSet returns a rule set at random, such as EC2 could hold: every network
// ACL has at least one entry, and every security group a rule.
func RuleSet(rng *rand.Rand) rules.RuleSet {
	var s rules.RuleSet
	for k := range rng.IntN(4) {
		a := &rules.NetworkACL{
			ID: fmt.Sprintf("acl-%02x", k), VPCID: "vpc-0a1", Name: text(rng), IsDefault: rng.IntN(4) == 0,
			Entries: randomEntries(rng),
		}
		for n := range rng.IntN(3) {
			a.Subnets = append(a.Subnets, fmt.Sprintf("subnet-%02x%02x", k, n))
		}
		a.Sort()
		s.ACLs = append(s.ACLs, a)
	}
	for k := range rng.IntN(4) {
		s.Groups = append(s.Groups, randomGroup(rng, fmt.Sprintf("sg-%02x", k)))
	}
	return s
}

// text returns one of Hostile that is UTF-8, as all that AWS keeps is.
func text(rng *rand.Rand) string {
	for {
		if s := Hostile[rng.IntN(len(Hostile))]; utf8.ValidString(s) {
			return s
		}
	}
}

func randomEntries(rng *rand.Rand) []rules.Entry {
	var entries []rules.Entry
	for _, n := range rng.Perm(40)[:1+rng.IntN(12)] {
		e := rules.Entry{
			RuleNumber: 1 + n/2*1680, Egress: n%2 == 0, Allow: rng.IntN(3) > 0,
			Prefix: prefix(rng), ICMPType: -1, ICMPCode: -1,
		}
		e.Protocol, e.Ports, e.HasPorts, e.ICMPType, e.ICMPCode = traffic(rng)
		entries = append(entries, e)
	}
	return entries
}

func randomGroup(rng *rand.Rand, id string) *rules.SecurityGroup {
	g := &rules.SecurityGroup{ID: id, Name: text(rng), VPCID: "vpc-0a1"}
	for len(g.Ingress)+len(g.Egress) == 0 {
		g.Ingress, g.Egress = randomRules(rng), randomRules(rng)
	}
	return g
}

// randomRules returns rules that all differ in more than their description.
func randomRules(rng *rand.Rand) []rules.GroupRule {
	var list []rules.GroupRule
	seen := map[rules.GroupRule]bool{}
	for range rng.IntN(8) {
		var r rules.GroupRule
		r.Protocol, r.Ports, r.HasPorts, r.ICMPType, r.ICMPCode = traffic(rng)
		switch rng.IntN(4) {
		case 0:
			r.GroupRef = fmt.Sprintf("sg-%02x", rng.IntN(8))
		case 1:
			r.PrefixList = fmt.Sprintf("pl-%02x", rng.IntN(8))
		default:
			r.Prefix = prefix(rng)
		}
		if !seen[r] {
			seen[r] = true
			r.Description = text(rng)
			list = append(list, r)
		}
	}
	return list
}

// traffic gives TCP and UDP their ports and ICMP its type and code, as EC2
// does, and others neither.
func traffic(rng *rand.Rand) (protocol int, ports rules.PortRange, has bool, icmpType, icmpCode int) {
	icmpType, icmpCode = -1, -1
	switch protocol = []int{6, 6, 6, 17, 1, 58, -1, 47, 0, 255}[rng.IntN(10)]; protocol {
	case 6, 17:
		from := rng.IntN(65536)
		return protocol, rules.PortRange{From: uint16(from), To: uint16(from + rng.IntN(65536-from))}, true, -1, -1
	case 1, 58:
		if rng.IntN(2) == 0 {
			icmpType, icmpCode = rng.IntN(256), rng.IntN(257)-1
		}
	}
	return protocol, ports, false, icmpType, icmpCode
}

func prefix(rng *rand.Rand) netip.Prefix {
	if rng.IntN(2) == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}), rng.IntN(33)).Masked()
	}
	a := netip.MustParseAddr("2001:db8::").As16()
	for k := range a[4:] {
		a[4+k] = byte(rng.Uint32()) * byte(rng.IntN(2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), rng.IntN(129)).Masked()
}

// Bare returns what a language keeps of s that names network ACLs and security
// groups by ID: their entries, without the default deny, and their rules.
func Bare(s rules.RuleSet) rules.RuleSet {
	var bare rules.RuleSet
	for _, a := range s.ACLs {
		entries := slices.DeleteFunc(slices.Clone(a.Entries), rules.Entry.IsDefault)
		bare.ACLs = append(bare.ACLs, &rules.NetworkACL{ID: a.ID, Entries: entries})
	}
	for _, g := range s.Groups {
		bare.Groups = append(bare.Groups, &rules.SecurityGroup{ID: g.ID, Ingress: g.Ingress, Egress: g.Egress})
	}
	return bare
}

// WithoutDescriptions returns s without its rules' descriptions.
func WithoutDescriptions(s rules.RuleSet) rules.RuleSet {
	return rules.RuleSet{ACLs: s.ACLs, Groups: withDescriptions(s.Groups, "")}
}

func withDescriptions(groups []*rules.SecurityGroup, text string) []*rules.SecurityGroup {
	var out []*rules.SecurityGroup
	for _, g := range groups {
		g = g.Clone()
		for _, list := range [][]rules.GroupRule{g.Ingress, g.Egress} {
			for k := range list {
				list[k].Description = text
			}
		}
		out = append(out, g)
	}
	return out
}

// WithText returns r with text for every note, name and description, and in
// the header.
func WithText(r rules.Revision, text string) rules.Revision {
	out := rules.Revision{Header: []string{text, "", text}, Notes: map[rules.NoteKey]string{}}
	for _, s := range []struct{ from, to *rules.RuleSet }{{&r.From, &out.From}, {&r.To, &out.To}} {
		for _, a := range s.from.ACLs {
			a = a.Clone()
			a.Name = text
			s.to.ACLs = append(s.to.ACLs, a)
			for _, e := range a.Entries {
				out.Notes[rules.EntryKey(a.ID, e)], out.Notes[rules.EntryKey(a.ID, e).AsGone()] = text, text
			}
		}
		s.to.Groups = withDescriptions(s.from.Groups, text)
		for _, g := range s.to.Groups {
			g.Name = text
			for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
				for _, x := range g.Rules(dir) {
					out.Notes[rules.RuleKey(g.ID, dir, x)], out.Notes[rules.RuleKey(g.ID, dir, x).AsGone()] = text, text
				}
			}
		}
	}
	return out
}

// Show gives all of s, for the messages of tests.
func Show(s rules.RuleSet) string {
	var b strings.Builder
	for _, a := range s.ACLs {
		fmt.Fprintf(&b, "%+v\n", *a)
	}
	for _, g := range s.Groups {
		fmt.Fprintf(&b, "%+v\n", *g)
	}
	return b.String()
}
