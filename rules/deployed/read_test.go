package deployed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"ephemera/rules"
)

// network is a fake with n VPCs, vpc-0 and so on, each with one of
// everything: acl-0, sg-0, eni-0, subnet-0, nat-0, rtb-0 and fl-0.
func network(n int) *fake {
	f := &fake{}
	f.PrefixListEntries = map[string][]types.PrefixListEntry{}
	for k := range n {
		id := func(kind string) *string { return aws.String(fmt.Sprintf("%s-%d", kind, k)) }
		f.NetworkACLs = append(f.NetworkACLs, types.NetworkAcl{
			NetworkAclId: id("acl"), VpcId: id("vpc"), IsDefault: aws.Bool(true),
			Entries: []types.NetworkAclEntry{{RuleNumber: aws.Int32(32767), Protocol: aws.String("-1"), RuleAction: "deny", Egress: aws.Bool(false), CidrBlock: aws.String("0.0.0.0/0")}},
		})
		f.SecurityGroups = append(f.SecurityGroups, types.SecurityGroup{GroupId: id("sg"), VpcId: id("vpc")})
		f.NetworkInterfaces = append(f.NetworkInterfaces, types.NetworkInterface{
			NetworkInterfaceId: id("eni"), VpcId: id("vpc"), SubnetId: id("subnet"), InterfaceType: "interface",
			PrivateIpAddress: aws.String("10.0.0.5"), Groups: []types.GroupIdentifier{{GroupId: id("sg")}},
		})
		f.Subnets = append(f.Subnets, types.Subnet{SubnetId: id("subnet"), VpcId: id("vpc"), CidrBlock: aws.String("10.0.0.0/24")})
		f.NATGateways = append(f.NATGateways, types.NatGateway{NatGatewayId: id("nat"), VpcId: id("vpc"), SubnetId: id("subnet"), State: "available"})
		f.RouteTables = append(f.RouteTables, types.RouteTable{
			RouteTableId: id("rtb"), VpcId: id("vpc"), Associations: []types.RouteTableAssociation{{Main: aws.Bool(true)}},
			Routes: []types.Route{{DestinationCidrBlock: aws.String("10.0.0.0/16"), GatewayId: aws.String("local")}},
		})
		f.FlowLogs = append(f.FlowLogs, types.FlowLog{FlowLogId: id("fl"), ResourceId: id("vpc")})
	}
	return f
}

// refer adds a rule to a security group of the fake.
func (f *fake) refer(group int, p types.IpPermission) {
	p.IpProtocol = aws.String("tcp")
	p.FromPort, p.ToPort = aws.Int32(21), aws.Int32(21)
	f.SecurityGroups[group].IpPermissions = append(f.SecurityGroups[group].IpPermissions, p)
}

func toGroup(id string) types.IpPermission {
	return types.IpPermission{UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &id, UserId: aws.String("210987654321"), VpcId: aws.String("vpc-9")}}}
}

func toList(id string) types.IpPermission {
	return types.IpPermission{PrefixListIds: []types.PrefixListId{{PrefixListId: &id}}}
}

// ids lists what a snapshot holds.
func ids(s *Snapshot) string {
	var words []string
	for _, x := range s.NetworkACLs {
		words = append(words, *x.NetworkAclId)
	}
	for _, x := range s.SecurityGroups {
		words = append(words, *x.GroupId)
	}
	for _, x := range s.NetworkInterfaces {
		words = append(words, *x.NetworkInterfaceId)
	}
	for _, x := range s.Subnets {
		words = append(words, *x.SubnetId)
	}
	for _, x := range s.NATGateways {
		words = append(words, *x.NatGatewayId)
	}
	for _, x := range s.RouteTables {
		words = append(words, *x.RouteTableId)
	}
	for _, x := range s.FlowLogs {
		words = append(words, *x.FlowLogId)
	}
	for _, x := range s.PrefixLists {
		words = append(words, *x.PrefixListId)
	}
	return strings.Join(words, " ")
}

func TestReadScope(t *testing.T) {
	const two = "acl-0 acl-1 sg-0 sg-1 eni-0 eni-1 subnet-0 subnet-1 nat-0 nat-1 rtb-0 rtb-1 fl-0 fl-1"
	for _, test := range []struct {
		there   int
		vpcs    string
		perPage int
		want    string
		err     string
	}{
		{2, "", 0, two, ""},
		{2, "", 1, two, ""},
		{2, "vpc-0 vpc-1", 1, two, ""},
		{2, "vpc-1", 1, "acl-1 sg-1 eni-1 subnet-1 nat-1 rtb-1 fl-1", ""},
		{2, "vpc-0 vpc-2", 0, "", "vpc-2: no such VPC here"},
		{0, "", 0, "", "there is no VPC here"},
	} {
		f := network(test.there)
		f.perPage = test.perPage
		slices.Reverse(f.Subnets)
		slices.Reverse(f.NetworkACLs)
		s, err := Read(t.Context(), f, Options{VPCs: strings.Fields(test.vpcs)})
		if err != nil {
			if test.err == "" || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%+v: got error %v", test, err)
			}
			continue
		}
		if got := ids(s); got != test.want || test.err != "" || len(s.Warnings) > 0 {
			t.Errorf("%+v: got %s, warnings %q", test, got, s.Warnings)
		}
		if f.widen > pageSize {
			t.Errorf("asked for pages of %d", f.widen)
		}
	}
}

// More VPCs than one filter takes are asked for in several calls.
func TestReadManyVPCs(t *testing.T) {
	f := network(2*filterValues + 1)
	var vpcs []string
	for _, a := range f.NetworkACLs {
		vpcs = append(vpcs, *a.VpcId)
	}
	s, err := Read(t.Context(), f, Options{VPCs: vpcs})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Subnets) != len(vpcs) || f.made["DescribeSubnets"] != 3 {
		t.Errorf("got %d subnets in %d calls, want %d in 3", len(s.Subnets), f.made["DescribeSubnets"], len(vpcs))
	}
}

// What pages repeat, when things change between them, is there once.
func TestReadRepeated(t *testing.T) {
	f := network(3)
	f.Subnets = append(f.Subnets, f.Subnets[0])
	s, err := Read(t.Context(), f, Options{})
	if err != nil || len(s.Subnets) != 3 {
		t.Errorf("got %d subnets, error %v, want 3", len(s.Subnets), err)
	}
}

func TestReadWithoutPermission(t *testing.T) {
	const message = "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/log is not authorized to perform: ec2:X because no identity-based policy allows the ec2:X action. Encoded authorization failure message: abc"
	for _, test := range []struct {
		call string
		code string
		want string // of the error, or of the warning when it is optional
		fail bool
	}{
		{"DescribeNetworkAcls", "UnauthorizedOperation", "ec2:DescribeNetworkAcls: access denied for arn:aws:iam::123456789012:user/log (because no identity-based policy allows the ec2:X action); allow the action (docs/iam.md)", true},
		{"DescribeSecurityGroups", "AccessDenied", "ec2:DescribeSecurityGroups: access denied for arn", true},
		{"DescribeNetworkInterfaces", "UnauthorizedOperation", "ec2:DescribeNetworkInterfaces: access denied", true},
		{"DescribeSubnets", "UnauthorizedOperation", "ec2:DescribeSubnets: access denied", true},
		{"DescribeNatGateways", "UnauthorizedOperation", "without it, NAT gateways are known by their interfaces only", false},
		{"DescribeRouteTables", "UnauthorizedOperation", "without it, the way from a subnet to the internet is not known", false},
		{"DescribeFlowLogs", "UnauthorizedOperation", "without it, where flow logs are delivered", false},
		{"DescribeManagedPrefixLists", "UnauthorizedOperation", "without it, the names of prefix lists", false},
		{"GetManagedPrefixListEntries", "UnauthorizedOperation", "entries of pl-1, pl-2: ec2:GetManagedPrefixListEntries: access denied for arn", false},
		{"GetManagedPrefixListEntries", "InvalidPrefixListID.NotFound", "entries of pl-1, pl-2: not visible here; without them, rules and routes", false},

		// A region, or a stand-in for it, that does not have the call.
		{"DescribeNatGateways", "InvalidAction", "NAT gateways are known by their interfaces only", false},
		{"DescribeSubnets", "InvalidAction", "ec2:DescribeSubnets: ", true},

		// What may go better next time does not make a thinner snapshot.
		{"DescribeRouteTables", "RequestLimitExceeded", "ec2:DescribeRouteTables: ", true},
		{"DescribeNatGateways", "AuthFailure", "ec2:DescribeNatGateways: ", true},
		{"DescribeFlowLogs", "InternalError", "ec2:DescribeFlowLogs: ", true},
		{"GetManagedPrefixListEntries", "InternalError", "ec2:GetManagedPrefixListEntries: ", true},
	} {
		f := network(1)
		f.refer(0, toList("pl-1"))
		f.refer(0, toList("pl-2"))
		f.PrefixListEntries["pl-1"], f.PrefixListEntries["pl-2"] = nil, nil
		f.errs = map[string]error{test.call: &smithy.GenericAPIError{Code: test.code, Message: message}}
		s, err := Read(t.Context(), f, Options{})
		if test.fail {
			var call *CallError
			if !errors.As(err, &call) || call.Call != test.call || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: got error %v, want %s", test.call, test.code, err, test.want)
			}
			continue
		}
		if err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], test.want) {
			t.Errorf("%s, %s: got error %v, want the warning %s", test.call, test.code, err, test.want)
			continue
		}
		readBack(t, s)
	}
}

// A call that could not be made has no file, so that the reader says so too.
func TestDeniedCallHasNoFile(t *testing.T) {
	f := network(1)
	f.errs = map[string]error{"DescribeRouteTables": denied("no")}
	s, err := Read(t.Context(), f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Files()
	if err != nil {
		t.Fatal(err)
	}
	if files["describe-route-tables.json"] != nil || files["describe-nat-gateways.json"] == nil {
		t.Errorf("got %d files, want all but that of route tables", len(files))
	}
	warnings := readBack(t, s).Warnings()
	if len(warnings) != 1 || !strings.Contains(warnings[0], "describe-route-tables.json: missing") {
		t.Errorf("the reader warns %q", warnings)
	}
}

func TestForeignGroups(t *testing.T) {
	f := network(3)
	f.perPage = 1
	f.refer(0, toGroup("sg-0"))    // of the same VPC
	f.refer(0, toGroup("sg-2"))    // of another one
	f.refer(0, toGroup("sg-gone")) // of nobody
	f.refer(2, toGroup("sg-far"))  // not asked for: the group of another VPC
	s, err := Read(t.Context(), f, Options{VPCs: []string{"vpc-0"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ids(s), "acl-0 sg-0 sg-2 eni-0 eni-2 subnet-0 nat-0 rtb-0 fl-0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := "sg-gone (account 210987654321, vpc-9), to which sg-0 refers, is not visible here or deleted; such rules stay undecided"
	if len(s.Warnings) != 1 || s.Warnings[0] != want {
		t.Errorf("got %q, want %q", s.Warnings, want)
	}
}

func TestPrefixLists(t *testing.T) {
	f := network(2)
	f.perPage = 2
	f.refer(0, toList("pl-0a"))
	f.refer(1, toList("pl-0c")) // of a VPC that is not asked for
	f.refer(0, toList("pl-../../0d"))
	f.RouteTables[0].Routes = append(f.RouteTables[0].Routes, types.Route{DestinationPrefixListId: aws.String("pl-0b"), GatewayId: aws.String("vpce-1")})
	for _, id := range []string{"pl-0a", "pl-0b", "pl-0c"} {
		f.PrefixLists = append(f.PrefixLists, types.ManagedPrefixList{PrefixListId: aws.String(id)})
	}
	f.PrefixListEntries["pl-0a"] = []types.PrefixListEntry{{Cidr: aws.String("10.3.0.0/16")}, {Cidr: aws.String("10.1.0.0/16")}, {Cidr: aws.String("10.2.0.0/16")}}
	f.PrefixListEntries["pl-0b"] = []types.PrefixListEntry{{Cidr: aws.String("52.0.0.0/15")}}
	s, err := Read(t.Context(), f, Options{VPCs: []string{"vpc-0"}})
	if err != nil || len(s.Warnings) > 0 {
		t.Fatal(err, s.Warnings)
	}
	if got := ids(s); !strings.HasSuffix(got, "fl-0 pl-0a pl-0b") {
		t.Errorf("got %s, want the two lists at the end", got)
	}
	if got := *s.PrefixListEntries["pl-0a"][0].Cidr; len(s.PrefixListEntries) != 2 || len(s.PrefixListEntries["pl-0a"]) != 3 || got != "10.1.0.0/16" {
		t.Errorf("got %d lists, the first entry %s", len(s.PrefixListEntries), got)
	}
	hop, ok := readBack(t, s).At(0).NextHop("subnet-0", addr(t, "52.1.2.3"))
	if !ok || hop.Target != "vpce-1" {
		t.Errorf("the next hop by the prefix list is %+v, want vpce-1", hop)
	}
}

func TestReadIsBounded(t *testing.T) {
	for _, test := range []struct {
		call    string
		cancel  bool
		timeout time.Duration
		want    string
	}{
		{"DescribeSubnets", true, 0, context.Canceled.Error()},
		{"GetManagedPrefixListEntries", true, 0, context.Canceled.Error()},
		{"DescribeSubnets", false, 20 * time.Millisecond, "ec2:DescribeSubnets: no answer within 20ms"},
		{"DescribeRouteTables", false, 20 * time.Millisecond, "ec2:DescribeRouteTables: no answer within 20ms"},
	} {
		f := network(1)
		f.refer(0, toList("pl-1"))
		f.PrefixListEntries["pl-1"] = nil
		f.hang = map[string]bool{test.call: true}
		ctx, cancel := context.WithCancel(t.Context())
		if test.cancel {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		start := time.Now()
		_, err := Read(ctx, f, Options{Timeout: test.timeout})
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%+v: took %v", test, d)
		}
	}
}

// A server that pages for ever is left.
func TestReadEndless(t *testing.T) {
	f := network(1)
	f.endless = "DescribeSubnets"
	_, err := Read(t.Context(), f, Options{})
	if err == nil || !strings.Contains(err.Error(), "ec2:DescribeSubnets: no end after") {
		t.Errorf("got %v", err)
	}
}

func TestVPCsOf(t *testing.T) {
	for _, test := range []struct{ ids, vpcs, gone string }{
		{"vpc-7", "vpc-7", ""},
		{"eni-0 eni-1 eni-1", "vpc-0 vpc-1", ""},
		{"eni-2 subnet-1 nat-0 vpc-0", "vpc-0 vpc-1 vpc-2", ""},
		{"eni-9 eni-8 eni-0 nat-9 tgw-1", "vpc-0", "eni-8 eni-9 nat-9 tgw-1"},
		{"eni-9", "", "eni-9"},
		{"", "", ""},
	} {
		vpcs, gone, err := VPCsOf(t.Context(), network(3), strings.Fields(test.ids), 0)
		if got := strings.Join(vpcs, " "); err != nil || got != test.vpcs || strings.Join(gone, " ") != test.gone {
			t.Errorf("%s: got %s, gone %s, error %v", test.ids, got, gone, err)
		}
	}
	f := network(1)
	f.errs = map[string]error{"DescribeNetworkInterfaces": denied("no")}
	if _, _, err := VPCsOf(t.Context(), f, []string{"eni-0"}, 0); err == nil {
		t.Error("no error without permission")
	}
}

// readBack writes a snapshot's files and reads them as an analysis does.
func readBack(t *testing.T, s *Snapshot) *rules.History {
	t.Helper()
	dir := t.TempDir()
	saved, err := s.Save(dir, time.Unix(1795370000, 0), false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := rules.ReadDir(saved.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
