package deployed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"
)

// API is the part of EC2 that a snapshot needs. Each method needs the IAM
// action of its name.
type API interface {
	ec2.DescribeNetworkAclsAPIClient
	ec2.DescribeSecurityGroupsAPIClient
	ec2.DescribeNetworkInterfacesAPIClient
	ec2.DescribeSubnetsAPIClient
	ec2.DescribeNatGatewaysAPIClient
	ec2.DescribeRouteTablesAPIClient
	ec2.DescribeFlowLogsAPIClient
	ec2.DescribeManagedPrefixListsAPIClient
	ec2.GetManagedPrefixListEntriesAPIClient
}

// Options say what to read. The zero Options read the whole region.
type Options struct {
	// VPCs are the IDs of the VPCs to read; all of the region's if empty.
	VPCs []string

	// Timeout bounds each page of each call, retries included; 0 means two
	// minutes.
	Timeout time.Duration
}

// Snapshot is what EC2 said of a network. A nil list is one that could not
// be read, and Warnings say why; an empty one is known to be empty.
type Snapshot struct {
	NetworkACLs       []types.NetworkAcl
	SecurityGroups    []types.SecurityGroup
	NetworkInterfaces []types.NetworkInterface
	Subnets           []types.Subnet
	NATGateways       []types.NatGateway
	RouteTables       []types.RouteTable
	FlowLogs          []types.FlowLog

	// PrefixLists are those that a security group or a route refers to, and
	// PrefixListEntries their entries by ID, of those that could be read.
	PrefixLists       []types.ManagedPrefixList
	PrefixListEntries map[string][]types.PrefixListEntry

	// Warnings say what is missing, and what an analysis loses by it.
	Warnings []string
}

// callsAtOnce is how many calls run at a time. EC2 throttles by account and
// region, so that more of them are not faster.
const callsAtOnce = 4

// What an analysis loses without an optional call.
const (
	lossNATGateways = "NAT gateways are known by their interfaces only, regional ones not at all"
	lossRouteTables = "the way from a subnet to the internet is not known"
	lossFlowLogs    = "where flow logs are delivered, and in which format, is not known"
	lossPrefixLists = "the names of prefix lists are not known"
	lossEntries     = "rules and routes that refer to them stay undecided"
)

// Read takes a snapshot: every call that the rules need, all pages, for the
// VPCs named. Security groups of other VPCs that rules refer to are read,
// too, with their network interfaces, as far as they are visible.
//
// A call that is denied, or that the region does not have, is a warning
// where rules.ReadDir can do without it, and fails the snapshot where it
// cannot; any other failure fails the snapshot, so that one bad minute does
// not leave a thinner snapshot behind. A failed call is a *CallError.
func Read(ctx context.Context, api API, o Options) (*Snapshot, error) {
	c := calls{api: api, timeout: o.Timeout}
	s := &Snapshot{}
	if err := s.readLists(ctx, c, inVPCs(o.VPCs)); err != nil {
		return nil, err
	}
	if err := s.checkVPCs(o.VPCs); err != nil {
		return nil, err
	}
	if len(o.VPCs) > 0 {
		s.keepFlowLogs(o.VPCs)
	}
	lists := s.referredPrefixLists()
	if err := s.readForeignGroups(ctx, c); err != nil {
		return nil, err
	}
	if err := s.readPrefixLists(ctx, c, lists); err != nil {
		return nil, err
	}
	s.sort()
	return s, nil
}

// readLists makes the calls that depend on nothing but the VPCs.
func (s *Snapshot) readLists(ctx context.Context, c calls, vpcs []scope) error {
	return s.read(ctx,
		required(&s.NetworkACLs, vpcs, c.networkACLs),
		required(&s.SecurityGroups, vpcs, c.securityGroups),
		required(&s.NetworkInterfaces, vpcs, c.networkInterfaces),
		required(&s.Subnets, vpcs, c.subnets),
		optional(&s.NATGateways, vpcs, c.natGateways, lossNATGateways),
		optional(&s.RouteTables, vpcs, c.routeTables, lossRouteTables),
		optional(&s.FlowLogs, everything, c.flowLogs, lossFlowLogs),
	)
}

// A task reads one list, and returns a warning if it can do without it.
type task func(context.Context) (warning string, err error)

func required[T any](to *[]T, scopes []scope, read func(context.Context, []scope) ([]T, error)) task {
	return func(ctx context.Context) (warning string, err error) {
		*to, err = read(ctx, scopes)
		return "", err
	}
}

func optional[T any](to *[]T, scopes []scope, read func(context.Context, []scope) ([]T, error), loss string) task {
	return func(ctx context.Context) (warning string, err error) {
		if *to, err = read(ctx, scopes); refused(err) {
			return fmt.Sprintf("%v; without it, %s", err, loss), nil
		}
		return "", err
	}
}

// read runs tasks, some at a time, and keeps their warnings in the tasks'
// order.
func (s *Snapshot) read(ctx context.Context, tasks ...task) error {
	warnings := make([]string, len(tasks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callsAtOnce)
	for k, run := range tasks {
		group.Go(func() (err error) {
			warnings[k], err = run(ctx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, w := range warnings {
		if w != "" {
			s.warnf("%s", w)
		}
	}
	return nil
}

func (s *Snapshot) warnf(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// checkVPCs refuses a snapshot without anything in it. Every VPC has a
// network ACL, and whoever a VPC is shared with sees its subnets.
func (s *Snapshot) checkVPCs(vpcs []string) error {
	seen := map[string]bool{}
	for _, a := range s.NetworkACLs {
		seen[text(a.VpcId)] = true
	}
	for _, n := range s.Subnets {
		seen[text(n.VpcId)] = true
	}
	if len(seen) == 0 && len(vpcs) == 0 {
		return fmt.Errorf("there is no VPC here; check the region and the account")
	}
	for _, id := range vpcs {
		if !seen[id] {
			return fmt.Errorf("%s: no such VPC here; check the ID, the region and the account", id)
		}
	}
	return nil
}

// keepFlowLogs leaves out the flow logs of other VPCs: EC2 has no filter for
// it.
func (s *Snapshot) keepFlowLogs(vpcs []string) {
	ours := map[string]bool{}
	for _, id := range vpcs {
		ours[id] = true
	}
	for _, n := range s.Subnets {
		ours[text(n.SubnetId)] = true
	}
	for _, i := range s.NetworkInterfaces {
		ours[text(i.NetworkInterfaceId)] = true
	}
	for _, g := range s.NATGateways {
		ours[text(g.NatGatewayId)] = true
	}
	s.FlowLogs = slices.DeleteFunc(s.FlowLogs, func(l types.FlowLog) bool { return !ours[text(l.ResourceId)] })
}

// readForeignGroups reads the security groups that rules and interfaces of
// the snapshot refer to, and that are of another VPC or account. A group is
// read together with the interfaces that have it: a rule that refers to the
// group means their addresses.
func (s *Snapshot) readForeignGroups(ctx context.Context, c calls) error {
	foreign := s.referredGroups()
	for _, g := range s.SecurityGroups {
		delete(foreign, text(g.GroupId))
	}
	if len(foreign) == 0 {
		return nil
	}
	var groups []types.SecurityGroup
	var members []types.NetworkInterface
	scopes := filtered("group-id", slices.Sorted(maps.Keys(foreign)))
	err := s.read(ctx, required(&groups, scopes, c.securityGroups), required(&members, scopes, c.networkInterfaces))
	if err != nil {
		return err
	}
	s.SecurityGroups = append(s.SecurityGroups, groups...)
	s.NetworkInterfaces = append(s.NetworkInterfaces, members...)
	for _, g := range groups {
		delete(foreign, text(g.GroupId))
	}
	for _, id := range slices.Sorted(maps.Keys(foreign)) {
		s.warnf("%s%s, to which %s refers, is not visible here or deleted; such rules stay undecided", id, foreign[id].owner, foreign[id].by)
	}
	return nil
}

// A reference is where the snapshot names a security group first, and whose
// it says that the group is.
type reference struct{ by, owner string }

func (s *Snapshot) referredGroups() map[string]reference {
	found := map[string]reference{}
	add := func(id, by, owner string) {
		if _, known := found[id]; !known && id != "" {
			found[id] = reference{by, owner}
		}
	}
	for _, g := range s.SecurityGroups {
		for _, p := range slices.Concat(g.IpPermissions, g.IpPermissionsEgress) {
			for _, pair := range p.UserIdGroupPairs {
				add(text(pair.GroupId), text(g.GroupId), ownerOf(pair))
			}
		}
	}
	for _, i := range s.NetworkInterfaces {
		for _, g := range i.Groups {
			add(text(g.GroupId), text(i.NetworkInterfaceId), "")
		}
	}
	return found
}

// ownerOf words the account and the VPC of a referred group, as far as the
// rule says them.
func ownerOf(pair types.UserIdGroupPair) string {
	var words []string
	if id := text(pair.UserId); id != "" {
		words = append(words, "account "+id)
	}
	if id := text(pair.VpcId); id != "" {
		words = append(words, id)
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

// prefixListID is the form of a prefix list's ID, which is part of a file's
// name.
var prefixListID = regexp.MustCompile(`^pl-[0-9A-Za-z]+$`)

// referredPrefixLists returns the IDs of the prefix lists in rules and
// routes.
func (s *Snapshot) referredPrefixLists() []string {
	found := map[string]bool{}
	for _, g := range s.SecurityGroups {
		for _, p := range slices.Concat(g.IpPermissions, g.IpPermissionsEgress) {
			for _, l := range p.PrefixListIds {
				found[text(l.PrefixListId)] = true
			}
		}
	}
	for _, t := range s.RouteTables {
		for _, r := range t.Routes {
			found[text(r.DestinationPrefixListId)] = true
		}
	}
	maps.DeleteFunc(found, func(id string, _ bool) bool { return !prefixListID.MatchString(id) })
	return slices.Sorted(maps.Keys(found))
}

// readPrefixLists reads prefix lists and their entries. A list that is gone
// or another account's is a warning.
func (s *Snapshot) readPrefixLists(ctx context.Context, c calls, ids []string) error {
	s.PrefixLists, s.PrefixListEntries = []types.ManagedPrefixList{}, map[string][]types.PrefixListEntry{}
	if len(ids) == 0 {
		return nil
	}
	tasks := []task{optional(&s.PrefixLists, filtered("prefix-list-id", ids), c.prefixLists, lossPrefixLists)}
	var lock sync.Mutex
	missing := map[string][]string{} // IDs, by the reason
	for _, id := range ids {
		tasks = append(tasks, func(ctx context.Context) (string, error) {
			entries, err := c.prefixListEntries(ctx, id)
			lock.Lock()
			defer lock.Unlock()
			switch {
			case refused(err):
				missing[err.Error()] = append(missing[err.Error()], id)
			case notFound(err):
				missing["not visible here"] = append(missing["not visible here"], id)
			case err != nil:
				return "", err
			default:
				s.PrefixListEntries[id] = entries
			}
			return "", nil
		})
	}
	if err := s.read(ctx, tasks...); err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(missing)) {
		lists := missing[reason]
		slices.Sort(lists)
		s.warnf("entries of %s: %s; without them, %s", strings.Join(lists, ", "), reason, lossEntries)
	}
	return nil
}

// sort puts every list in the order of IDs, and leaves out what two pages or
// two calls gave.
func (s *Snapshot) sort() {
	s.NetworkACLs = byID(s.NetworkACLs, func(x types.NetworkAcl) *string { return x.NetworkAclId })
	s.SecurityGroups = byID(s.SecurityGroups, func(x types.SecurityGroup) *string { return x.GroupId })
	s.NetworkInterfaces = byID(s.NetworkInterfaces, func(x types.NetworkInterface) *string { return x.NetworkInterfaceId })
	s.Subnets = byID(s.Subnets, func(x types.Subnet) *string { return x.SubnetId })
	s.NATGateways = byID(s.NATGateways, func(x types.NatGateway) *string { return x.NatGatewayId })
	s.RouteTables = byID(s.RouteTables, func(x types.RouteTable) *string { return x.RouteTableId })
	s.FlowLogs = byID(s.FlowLogs, func(x types.FlowLog) *string { return x.FlowLogId })
	s.PrefixLists = byID(s.PrefixLists, func(x types.ManagedPrefixList) *string { return x.PrefixListId })
	for id, entries := range s.PrefixListEntries {
		s.PrefixListEntries[id] = byID(entries, func(x types.PrefixListEntry) *string { return x.Cidr })
	}
}

func byID[T any](list []T, id func(T) *string) []T {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(text(id(a)), text(id(b))) })
	return slices.CompactFunc(list, func(a, b T) bool { return text(id(a)) == text(id(b)) })
}

// text is what p points to, or nothing.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
