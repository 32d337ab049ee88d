package rules

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"ephemera/ingest/flow"
)

// WriteACLs writes network ACLs as `aws ec2 describe-network-acls` prints
// them. What ReadDir makes of it is equal to acls. A tag other than Name, and
// the IDs of associations, are not known and left out.
func WriteACLs(w io.Writer, acls []*NetworkACL) error {
	out := []outACL{} // prints as [], not null
	for _, a := range acls {
		o, err := aclOut(a)
		if err != nil {
			return err
		}
		out = append(out, o)
	}
	return writeJSON(w, map[string]any{"NetworkAcls": out})
}

// WriteGroups writes security groups as `aws ec2 describe-security-groups`
// prints them, with one permission for each rule. What ReadDir makes of it is
// equal to groups.
func WriteGroups(w io.Writer, groups []*SecurityGroup) error {
	out := []outGroup{}
	for _, g := range groups {
		ingress, err := permissionsOut(g.ID, flow.Ingress, g.Ingress)
		if err != nil {
			return err
		}
		egress, err := permissionsOut(g.ID, flow.Egress, g.Egress)
		if err != nil {
			return err
		}
		out = append(out, outGroup{g.ID, g.Name, g.VPCID, ingress, egress})
	}
	return writeJSON(w, map[string]any{"SecurityGroups": out})
}

// writeJSON indents by four columns, as the AWS CLI does.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	return e.Encode(v)
}

// The shapes below are those that addACL and addGroup read.

type outACL struct {
	Associations []outAssociation
	Entries      []outEntry
	IsDefault    bool
	NetworkAclId string
	Tags         []tag
	VpcId        string
}

type outAssociation struct{ NetworkAclId, SubnetId string }

type outEntry struct {
	CidrBlock     string        `json:",omitempty"`
	Egress        bool          // before the rest, as the AWS CLI sorts
	IcmpTypeCode  *outICMP      `json:",omitempty"`
	Ipv6CidrBlock string        `json:",omitempty"`
	PortRange     *outPortRange `json:",omitempty"`
	Protocol      string
	RuleAction    string
	RuleNumber    int
}

type outICMP struct{ Code, Type int }

type outPortRange struct{ From, To uint16 }

func aclOut(a *NetworkACL) (outACL, error) {
	out := outACL{
		Associations: []outAssociation{}, Entries: []outEntry{},
		IsDefault: a.IsDefault, NetworkAclId: a.ID, Tags: []tag{}, VpcId: a.VPCID,
	}
	if a.Name != "" {
		out.Tags = append(out.Tags, tag{"Name", a.Name})
	}
	for _, s := range a.Subnets {
		out.Associations = append(out.Associations, outAssociation{a.ID, s})
	}
	for _, e := range a.Entries {
		if !e.Prefix.IsValid() {
			return outACL{}, fmt.Errorf("%s: rule %d of %s has no CIDR block", a.ID, e.RuleNumber, e.Direction())
		}
		out.Entries = append(out.Entries, entryOut(e))
	}
	return out, nil
}

func entryOut(e Entry) outEntry {
	out := outEntry{
		Egress: e.Egress, Protocol: strconv.Itoa(e.Protocol),
		RuleAction: pick(e.Allow, "allow", "deny"), RuleNumber: e.RuleNumber,
	}
	out.CidrBlock, out.Ipv6CidrBlock = byFamily(e.Prefix)
	if e.HasPorts {
		out.PortRange = &outPortRange{e.Ports.From, e.Ports.To}
	}
	if isICMP(e.Protocol) {
		out.IcmpTypeCode = &outICMP{Code: e.ICMPCode, Type: e.ICMPType}
	}
	return out
}

// byFamily returns p as text in the place of its address family; the other
// one is empty.
func byFamily(p netip.Prefix) (ipv4, ipv6 string) {
	if p.Addr().Is4() {
		return p.String(), ""
	}
	return "", p.String()
}

type outGroup struct {
	GroupId, GroupName, VpcId          string
	IpPermissions, IpPermissionsEgress []outPermission
}

type outPermission struct {
	FromPort         *int `json:",omitempty"`
	IpProtocol       string
	IpRanges         []outPeer
	Ipv6Ranges       []outPeer
	PrefixListIds    []outPeer
	ToPort           *int `json:",omitempty"`
	UserIdGroupPairs []outPeer
}

// outPeer is an element of any of a permission's lists of peers.
type outPeer struct {
	CidrIp       string `json:",omitempty"`
	CidrIpv6     string `json:",omitempty"`
	Description  string `json:",omitempty"`
	GroupId      string `json:",omitempty"`
	PrefixListId string `json:",omitempty"`
}

func permissionsOut(groupID string, dir flow.Direction, rules []GroupRule) ([]outPermission, error) {
	out := []outPermission{}
	for _, r := range rules {
		if !r.Prefix.IsValid() && r.GroupRef == "" && r.PrefixList == "" {
			return nil, fmt.Errorf("%s: an %s rule for %q names no peer", groupID, dir, r.Words(dir))
		}
		out = append(out, permissionOut(r))
	}
	return out, nil
}

func permissionOut(r GroupRule) outPermission {
	p := outPermission{
		IpProtocol: protocolName(r.Protocol),
		IpRanges:   []outPeer{}, Ipv6Ranges: []outPeer{}, PrefixListIds: []outPeer{}, UserIdGroupPairs: []outPeer{},
	}
	switch {
	case isICMP(r.Protocol):
		p.FromPort, p.ToPort = &r.ICMPType, &r.ICMPCode
	case r.HasPorts:
		from, to := int(r.Ports.From), int(r.Ports.To)
		p.FromPort, p.ToPort = &from, &to
	}
	peer := outPeer{Description: r.Description, GroupId: r.GroupRef, PrefixListId: r.PrefixList}
	switch {
	case r.GroupRef != "":
		p.UserIdGroupPairs = append(p.UserIdGroupPairs, peer)
	case r.PrefixList != "":
		p.PrefixListIds = append(p.PrefixListIds, peer)
	case r.Prefix.Addr().Is4():
		peer.CidrIp = r.Prefix.String()
		p.IpRanges = append(p.IpRanges, peer)
	default:
		peer.CidrIpv6 = r.Prefix.String()
		p.Ipv6Ranges = append(p.Ipv6Ranges, peer)
	}
	return p
}

// protocolName is how security groups name a protocol: tcp, udp, icmp and
// icmpv6 by name, others by number, and all of them as -1.
func protocolName(protocol int) string {
	if protocol == AllProtocols {
		return "-1"
	}
	return flow.Proto(protocol).String()
}

// ReadRules reads network ACLs and security groups that were written by hand,
// or by WriteACLs and WriteGroups: from dir, describe-network-acls.json and
// describe-security-groups.json, of which one may be missing, as ReadDir reads
// them. Both come by ID. Unlike a snapshot of what EC2 has, which cannot say so,
// two entries of a network ACL with the same number are an error, and so is a
// list that goes on elsewhere.
func ReadRules(dir string) (RuleSet, error) { return readRules(os.DirFS(dir), dir) }

func readRules(fsys fs.FS, place string) (RuleSet, error) {
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return RuleSet{}, err
	}
	n, h, found := newNetwork(time.Time{}), &History{}, 0
	for _, c := range calls[:2] {
		pages := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !c.isPage(name) })
		if len(pages) == 0 {
			continue
		}
		found++
		c.add = onlyOnce(c.add)
		if err := h.readCall(n, fsys, place, c, pages); err != nil {
			return RuleSet{}, err
		}
	}
	switch {
	case found == 0:
		return RuleSet{}, fmt.Errorf("%s: neither %s.json nor %s.json is there; make them with: %s; %s",
			cmp.Or(place, "."), calls[0].name, calls[1].name, calls[0].command(), calls[1].command())
	case len(h.warnings) > 0:
		return RuleSet{}, errors.New(h.warnings[0])
	}
	return RuleSet{ACLs: byID(n.acls), Groups: byID(n.groups)}, nil
}

// onlyOnce refuses what is there twice: an item, or an entry's number.
func onlyOnce(add func(*Network, item) error) func(*Network, item) error {
	return func(n *Network, it item) error {
		alone := newNetwork(time.Time{})
		if err := add(alone, it); err != nil {
			return err
		}
		for id, acl := range alone.acls {
			if n.acls[id] != nil {
				return it.errorf("NetworkAclId", "%s is there twice; leave one", id)
			}
			if e, twice := acl.twice(); twice {
				return it.errorf("Entries", "%s has %s rule %d twice; leave one", id, e.Direction(), e.RuleNumber)
			}
			n.acls[id] = acl
		}
		for id, group := range alone.groups {
			if n.groups[id] != nil {
				return it.errorf("GroupId", "%s is there twice; leave one", id)
			}
			n.groups[id] = group
		}
		return nil
	}
}

// twice returns an entry whose number another one of the same direction has.
func (a *NetworkACL) twice() (Entry, bool) {
	for k := 1; k < len(a.Entries); k++ {
		if x, y := a.Entries[k-1], a.Entries[k]; x.Egress == y.Egress && x.RuleNumber == y.RuleNumber {
			return y, true
		}
	}
	return Entry{}, false
}

func byID[T any](items map[string]*T) []*T {
	var list []*T
	for _, id := range slices.Sorted(maps.Keys(items)) {
		list = append(list, items[id])
	}
	return list
}
