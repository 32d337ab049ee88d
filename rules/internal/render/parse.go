package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A Value is a literal value of a file, as text.
type Value struct {
	Text  string
	Place string // "rules.tf:12"
}

// An Item is what a file says of an entry or a rule.
type Item struct {
	Place  string
	Values map[string]Value // by the name that the file's language has for it
}

// errorf names the value's place, or the item's if the value is missing.
func (it Item) errorf(name, format string, args ...any) error {
	place := it.Place
	if v, ok := it.Values[name]; ok {
		place = v.Place
	}
	return fmt.Errorf("%s: %s: %s", place, name, fmt.Sprintf(format, args...))
}

// EntryNames are a language's names of the values of a network ACL entry.
type EntryNames struct {
	ACLID, Egress, RuleNumber, RuleAction, Protocol string
	FromPort, ToPort, ICMPType, ICMPCode            string
	CIDR, CIDR6                                     string
}

// RuleNames are a language's names of the values of a security group rule.
// FromPort and ToPort are the type and code of ICMP, too.
type RuleNames struct {
	GroupID, Protocol, FromPort, ToPort, Description string
	CIDR, CIDR6, GroupRef, PrefixList                string
}

// Entry reads a network ACL entry and the ID of its network ACL.
func (it Item) Entry(names EntryNames) (aclID string, e rules.Entry, err error) {
	if aclID, err = it.id(names.ACLID); err != nil {
		return "", e, err
	}
	if e.Egress, err = it.boolean(names.Egress); err != nil {
		return "", e, err
	}
	if e.RuleNumber, err = it.number(names.RuleNumber, 1, rules.DefaultRule-1); err != nil {
		return "", e, err
	}
	if e.Allow, err = it.action(names.RuleAction); err != nil {
		return "", e, err
	}
	if e.Protocol, err = it.protocol(names.Protocol); err != nil {
		return "", e, err
	}
	if e.Ports, e.HasPorts, err = it.ports(e.Protocol, names.FromPort, names.ToPort); err != nil {
		return "", e, err
	}
	if e.ICMPType, e.ICMPCode, err = it.icmp(e.Protocol, names.ICMPType, names.ICMPCode); err != nil {
		return "", e, err
	}
	name, err := it.oneOf(names.CIDR, names.CIDR6)
	if err != nil {
		return "", e, err
	}
	e.Prefix, err = it.prefix(name, name == names.CIDR6)
	return aclID, e, err
}

// Rule reads a security group rule and the ID of its security group.
func (it Item) Rule(names RuleNames) (groupID string, r rules.GroupRule, err error) {
	if groupID, err = it.id(names.GroupID); err != nil {
		return "", r, err
	}
	if r.Protocol, err = it.protocol(names.Protocol); err != nil {
		return "", r, err
	}
	if r.Ports, r.HasPorts, err = it.ports(r.Protocol, names.FromPort, names.ToPort); err != nil {
		return "", r, err
	}
	if r.ICMPType, r.ICMPCode, err = it.icmp(r.Protocol, names.FromPort, names.ToPort); err != nil {
		return "", r, err
	}
	r.Description = it.Values[names.Description].Text
	name, err := it.oneOf(names.CIDR, names.CIDR6, names.GroupRef, names.PrefixList)
	if err != nil {
		return "", r, err
	}
	switch name {
	case names.GroupRef:
		r.GroupRef, err = it.id(name)
	case names.PrefixList:
		r.PrefixList, err = it.id(name)
	default:
		r.Prefix, err = it.prefix(name, name == names.CIDR6)
	}
	return groupID, r, err
}

func (it Item) has(name string) bool {
	_, ok := it.Values[name]
	return ok
}

// oneOf returns the one of names that is there.
func (it Item) oneOf(names ...string) (string, error) {
	all := strings.Join(names, ", ")
	there := slices.DeleteFunc(names, func(name string) bool { return !it.has(name) })
	if len(there) != 1 {
		return "", fmt.Errorf("%s: %d of %s are there; write one", it.Place, len(there), all)
	}
	return there[0], nil
}

func (it Item) id(name string) (string, error) {
	if !it.has(name) {
		return "", it.errorf(name, "missing")
	}
	text := it.Values[name].Text
	if !ident.MatchString(text) {
		return "", it.errorf(name, "%q is not an ID", text)
	}
	return text, nil
}

// boolean reads a truth value; missing is false.
func (it Item) boolean(name string) (bool, error) {
	switch text := it.Values[name].Text; {
	case !it.has(name), strings.EqualFold(text, "false"):
		return false, nil
	case strings.EqualFold(text, "true"):
		return true, nil
	default:
		return false, it.errorf(name, "%q is neither true nor false", text)
	}
}

func (it Item) action(name string) (allow bool, err error) {
	switch text := it.Values[name].Text; {
	case !it.has(name):
		return false, it.errorf(name, "missing")
	case strings.EqualFold(text, "allow"):
		return true, nil
	case strings.EqualFold(text, "deny"):
		return false, nil
	default:
		return false, it.errorf(name, "%q is neither allow nor deny", text)
	}
}

func (it Item) number(name string, low, high int) (int, error) {
	if !it.has(name) {
		return 0, it.errorf(name, "missing")
	}
	n, err := strconv.Atoi(it.Values[name].Text)
	if err != nil || n < low || n > high {
		return 0, it.errorf(name, "%q is not a number from %d to %d", it.Values[name].Text, low, high)
	}
	return n, nil
}

// protocols are the names that EC2, or Terraform for EC2, has for protocols.
// Source: EC2 API Reference, IpPermission; hashicorp/aws,
// internal/service/ec2/vpc_network_acl_rule.go, protocolIntegers.
var protocols = map[string]int{
	"all": rules.AllProtocols, "tcp": int(flow.TCP), "udp": int(flow.UDP), "icmp": int(flow.ICMP), "icmpv6": int(flow.ICMPv6),
	"ah": 51, "esp": 50,
}

func (it Item) protocol(name string) (int, error) {
	if p, ok := protocols[strings.ToLower(it.Values[name].Text)]; ok {
		return p, nil
	}
	return it.number(name, rules.AllProtocols, 255)
}

// ports reads the ports of TCP and UDP, which must have some. Those of other
// protocols EC2 does not look at.
func (it Item) ports(protocol int, fromName, toName string) (r rules.PortRange, has bool, err error) {
	if protocol != int(flow.TCP) && protocol != int(flow.UDP) {
		return rules.PortRange{}, false, nil
	}
	from, err := it.number(fromName, 0, 65535)
	if err != nil {
		return rules.PortRange{}, false, err
	}
	to, err := it.number(toName, from, 65535)
	if err != nil {
		return rules.PortRange{}, false, err
	}
	return rules.PortRange{From: uint16(from), To: uint16(to)}, true, nil
}

// icmp reads the type and code of ICMP, which must have them; -1 is any.
func (it Item) icmp(protocol int, typeName, codeName string) (icmpType, icmpCode int, err error) {
	if !IsICMP(protocol) {
		return -1, -1, nil
	}
	if icmpType, err = it.number(typeName, -1, 255); err != nil {
		return -1, -1, err
	}
	icmpCode, err = it.number(codeName, -1, 255)
	return icmpType, icmpCode, err
}

// prefix reads a CIDR block of one family, and clears its host bits, as AWS
// does.
func (it Item) prefix(name string, ipv6 bool) (netip.Prefix, error) {
	text := it.Values[name].Text
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is6() != ipv6 {
		return netip.Prefix{}, it.errorf(name, "%q is not an %s CIDR block", text, map[bool]string{false: "IPv4", true: "IPv6"}[ipv6])
	}
	return p.Masked(), nil
}

// A Collector puts the entries and rules of a file together, by network ACL
// and security group. The zero value is ready.
type Collector struct {
	set    rules.RuleSet
	acls   map[string]*rules.NetworkACL
	groups map[string]*rules.SecurityGroup
	placed map[string]string // place, by entry or rule
}

// AddEntry adds the entry that it says.
func (c *Collector) AddEntry(it Item, names EntryNames) error {
	id, e, err := it.Entry(names)
	if err != nil {
		return err
	}
	if err := c.place(it, fmt.Sprintf("%s %s rule %d", id, e.Direction(), e.RuleNumber)); err != nil {
		return err
	}
	if c.acls == nil {
		c.acls = map[string]*rules.NetworkACL{}
	}
	if c.acls[id] == nil {
		c.acls[id] = &rules.NetworkACL{ID: id}
		c.set.ACLs = append(c.set.ACLs, c.acls[id])
	}
	c.acls[id].Entries = append(c.acls[id].Entries, e)
	return nil
}

// AddRule adds the rule that it says.
func (c *Collector) AddRule(it Item, names RuleNames, dir flow.Direction) error {
	id, r, err := it.Rule(names)
	if err != nil {
		return err
	}
	if err := c.place(it, fmt.Sprintf("%s %s rule %q", id, dir, r.Words(dir))); err != nil {
		return err
	}
	if c.groups == nil {
		c.groups = map[string]*rules.SecurityGroup{}
	}
	g := c.groups[id]
	if g == nil {
		g = &rules.SecurityGroup{ID: id}
		c.groups[id] = g
		c.set.Groups = append(c.set.Groups, g)
	}
	if dir == flow.Egress {
		g.Egress = append(g.Egress, r)
	} else {
		g.Ingress = append(g.Ingress, r)
	}
	return nil
}

// place refuses what is there already.
func (c *Collector) place(it Item, what string) error {
	if before, ok := c.placed[what]; ok {
		return fmt.Errorf("%s: %s is there already, at %s; leave one", it.Place, what, before)
	}
	if c.placed == nil {
		c.placed = map[string]string{}
	}
	c.placed[what] = it.Place
	return nil
}

// RuleSet returns what was added, in that order, and each network ACL's
// entries sorted.
func (c *Collector) RuleSet() rules.RuleSet {
	for _, a := range c.set.ACLs {
		a.Sort()
	}
	return c.set
}
