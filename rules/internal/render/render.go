// Package render holds what the texts that change rules have in common,
// whatever their language: which entries and rules a revision adds, changes
// and takes away, names for them, and comments that nothing can break out of.
package render

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A Sheet is a revision, item by item.
type Sheet struct {
	Header []string
	ACLs   []ACL
	Groups []Group
}

// ACL is a network ACL as it is to be.
type ACL struct {
	ID    string
	Title string // the ID, with the Name tag if there is one
	Label string // a word that no other item of the sheet has

	Entries []Entry // without the default deny
	Gone    []Entry // those of before whose numbers are not used any more
}

// Entry is a network ACL entry with its history.
type Entry struct {
	rules.Entry
	Was  *rules.Entry // the one of the same number before; nil if there was none
	Note string
}

// Changed reports whether another entry had the number before.
func (e Entry) Changed() bool { return e.Was != nil && !Same(*e.Was, e.Entry) }

// Group is a security group as it is to be.
type Group struct {
	ID    string
	Title string // the ID, with the name if there is one
	Label string // a word that no other item of the sheet has

	Rules []Rule // those of ingress, then those of egress
	Gone  []Rule // those of before that are not there any more
}

// Rule is a security group rule with its history.
type Rule struct {
	rules.GroupRule
	Direction flow.Direction
	Exists    bool // before, with whatever description
	Note      string
}

// Words gives the rule as "tcp 22 from 10.0.0.0/24".
func (r Rule) Words() string { return r.GroupRule.Words(r.Direction) }

// NewSheet lays out r. It fails if r holds what EC2 could not hold, such as an
// entry without CIDR block, so that nothing of it reaches a script.
func NewSheet(r rules.Revision) (Sheet, error) {
	s := Sheet{Header: r.Header}
	labels := labelsOf(r.To)
	for _, a := range r.To.ACLs {
		if err := CheckACL(a); err != nil {
			return Sheet{}, err
		}
		s.ACLs = append(s.ACLs, newACL(r, a, labels[a.ID]))
	}
	for _, g := range r.To.Groups {
		if err := CheckGroup(g); err != nil {
			return Sheet{}, err
		}
		s.Groups = append(s.Groups, newGroup(r, g, labels[g.ID]))
	}
	return s, nil
}

func newACL(r rules.Revision, to *rules.NetworkACL, label string) ACL {
	a := ACL{ID: to.ID, Title: Title(to.ID, to.Name), Label: label}
	from := r.From.ACL(to.ID)
	for _, e := range to.Entries {
		if !e.IsDefault() {
			a.Entries = append(a.Entries, Entry{e, Numbered(from, e), r.Notes[rules.EntryKey(to.ID, e)]})
		}
	}
	if from == nil {
		return a
	}
	for _, e := range from.Entries {
		if !e.IsDefault() && Numbered(to, e) == nil {
			a.Gone = append(a.Gone, Entry{e, nil, r.Notes[rules.EntryKey(to.ID, e).AsGone()]})
		}
	}
	return a
}

// Numbered returns the entry of acl that has the number of e, and its
// direction; nil if there is none, or acl is nil.
func Numbered(acl *rules.NetworkACL, e rules.Entry) *rules.Entry {
	if acl == nil {
		return nil
	}
	i := slices.IndexFunc(acl.Entries, func(x rules.Entry) bool {
		return x.RuleNumber == e.RuleNumber && x.Egress == e.Egress
	})
	if i < 0 {
		return nil
	}
	return &acl.Entries[i]
}

// Same compares what EC2 keeps of an entry: ports are of TCP and UDP, types
// of ICMP.
func Same(x, y rules.Entry) bool { return canonical(x) == canonical(y) }

func canonical(e rules.Entry) rules.Entry {
	e.Prefix = e.Prefix.Masked()
	e.Ports, e.HasPorts = PortsOf(e.Protocol, e.Ports, e.HasPorts)
	if !IsICMP(e.Protocol) {
		e.ICMPType, e.ICMPCode = -1, -1
	}
	return e
}

func newGroup(r rules.Revision, to *rules.SecurityGroup, label string) Group {
	g := Group{ID: to.ID, Title: Title(to.ID, to.Name), Label: label}
	from := r.From.Group(to.ID)
	if from == nil {
		from = &rules.SecurityGroup{}
	}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		before := from.Rules(dir)
		for _, x := range to.Rules(dir) {
			g.Rules = append(g.Rules, Rule{x, dir, contains(before, x), r.Notes[rules.RuleKey(to.ID, dir, x)]})
		}
		for _, x := range before {
			if !contains(to.Rules(dir), x) {
				g.Gone = append(g.Gone, Rule{x, dir, true, r.Notes[rules.RuleKey(to.ID, dir, x).AsGone()]})
			}
		}
	}
	return g
}

func contains(list []rules.GroupRule, r rules.GroupRule) bool {
	return slices.ContainsFunc(list, r.Same)
}

// Title gives "acl-0a1 (name)", or the ID alone.
func Title(id, name string) string {
	if name == "" {
		return id
	}
	return id + " (" + name + ")"
}

// WithNote adds a note to what is taken away.
func WithNote(text, note string) string {
	if note == "" {
		return text
	}
	return text + ": " + note
}

// IsICMP reports whether the protocol has ICMP types.
func IsICMP(protocol int) bool {
	return protocol == int(flow.ICMP) || protocol == int(flow.ICMPv6)
}

// PortsOf returns the ports that EC2 is to be told: for TCP and UDP, which
// must have some, and for no other protocol.
// Source: EC2 API Reference, CreateNetworkAclEntry, PortRange.
func PortsOf(protocol int, ports rules.PortRange, has bool) (rules.PortRange, bool) {
	switch {
	case protocol != int(flow.TCP) && protocol != int(flow.UDP):
		return rules.PortRange{}, false
	case !has:
		return rules.PortRange{From: 0, To: 65535}, true
	}
	return ports, true
}

// Action returns EC2's word for what an entry does: allow or deny.
func Action(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

// EntryProtocol is how a network ACL entry's protocol reads best: by name if
// all tools take it, by number otherwise, and all protocols as -1.
func EntryProtocol(protocol int) string {
	switch protocol {
	case int(flow.TCP), int(flow.UDP), int(flow.ICMP):
		return flow.Proto(protocol).String()
	}
	return strconv.Itoa(protocol)
}

// RuleProtocol is how EC2 names a security group rule's protocol: tcp, udp,
// icmp and icmpv6 by name, others by number, and all protocols as -1.
func RuleProtocol(protocol int) string {
	if protocol == rules.AllProtocols {
		return "-1"
	}
	return flow.Proto(protocol).String()
}

// ident is what the IDs of AWS are made of. Nothing that is one means
// anything to a shell, or reads as a file name to the AWS CLI.
var ident = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]*$`)

func checkID(kind, id string) error {
	if !ident.MatchString(id) {
		return fmt.Errorf("%q is not the ID of a %s: correct it where the rules come from", id, kind)
	}
	return nil
}

// CheckACL refuses a network ACL that EC2 could not hold.
func CheckACL(a *rules.NetworkACL) error {
	if err := checkID("network ACL", a.ID); err != nil {
		return err
	}
	for _, e := range a.Entries {
		if err := CheckEntry(e); err != nil {
			return fmt.Errorf("%s: %s rule %d: %w", a.ID, e.Direction(), e.RuleNumber, err)
		}
	}
	return nil
}

// CheckEntry refuses an entry that EC2 could not hold; the default deny is
// none of them.
func CheckEntry(e rules.Entry) error {
	if (e.RuleNumber < 1 || e.RuleNumber >= rules.DefaultRule) && !e.IsDefault() {
		return fmt.Errorf("the number is not from 1 to %d", rules.DefaultRule-1)
	}
	if !e.Prefix.IsValid() {
		return fmt.Errorf("the CIDR block is missing")
	}
	return checkTraffic(e.Protocol, e.Ports, e.HasPorts, e.ICMPType, e.ICMPCode)
}

// CheckGroup refuses a security group that EC2 could not hold.
func CheckGroup(g *rules.SecurityGroup) error {
	if err := checkID("security group", g.ID); err != nil {
		return err
	}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, r := range g.Rules(dir) {
			if err := CheckRule(r); err != nil {
				return fmt.Errorf("%s: %s rule %q: %w", g.ID, dir, r.Words(dir), err)
			}
		}
	}
	return nil
}

// CheckRule refuses a rule that EC2 could not hold.
func CheckRule(r rules.GroupRule) error {
	peers := 0
	if r.Prefix.IsValid() {
		peers++
	}
	for kind, id := range map[string]string{"security group": r.GroupRef, "prefix list": r.PrefixList} {
		if id == "" {
			continue
		}
		if err := checkID(kind, id); err != nil {
			return err
		}
		peers++
	}
	if peers != 1 {
		return fmt.Errorf("%d peers where there must be one", peers)
	}
	return checkTraffic(r.Protocol, r.Ports, r.HasPorts, r.ICMPType, r.ICMPCode)
}

func checkTraffic(protocol int, ports rules.PortRange, hasPorts bool, icmpType, icmpCode int) error {
	switch {
	case protocol < rules.AllProtocols || protocol > 255:
		return fmt.Errorf("protocol %d is not from -1 to 255", protocol)
	case hasPorts && ports.From > ports.To:
		return fmt.Errorf("the ports %d to %d are none", ports.From, ports.To)
	case IsICMP(protocol) && (icmpType < -1 || icmpType > 255 || icmpCode < -1 || icmpCode > 255):
		return fmt.Errorf("ICMP type %d code %d is not from -1 to 255", icmpType, icmpCode)
	}
	return nil
}
