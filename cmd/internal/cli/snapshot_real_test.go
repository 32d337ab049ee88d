//go:build real

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"ephemera/ingest/flow"
	"ephemera/ingest/sourcetest"
	"ephemera/rules"
)

// built is the network that build makes in moto.
type built struct {
	vpc, peer                   string
	public, private             string // subnets
	acl                         string
	clients, servers, far       string // security groups
	list                        string
	nat, publicTable            string
	interfaces, peerInterface   string
	natPublicAddr, clientAddr   string
	groups, acls, moreThanAPage int
}

// build makes a VPC as in the article, with what it lacks: a customer's
// prefix list, flow logs, and a group of another VPC. moto answers every
// call with all it has, whatever MaxResults says, so that more than a page
// shows here only that nothing else cuts it off; the paging is tested in
// rules/deployed.
func build(t *testing.T, url string) built {
	t.Helper()
	ctx := t.Context()
	c := ec2.NewFromConfig(motoConfig(url))
	var b built

	b.vpc = *must(c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t).Vpc.VpcId
	b.peer = *must(c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")}))(t).Vpc.VpcId
	subnet := func(vpc, cidr string) string {
		out := must(c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &vpc, CidrBlock: &cidr, AvailabilityZone: aws.String("us-east-1a")}))(t)
		return *out.Subnet.SubnetId
	}
	b.public, b.private = subnet(b.vpc, "10.0.0.0/24"), subnet(b.vpc, "10.0.1.0/24")
	peerSubnet := subnet(b.peer, "10.9.0.0/24")

	b.acl = *must(c.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: &b.vpc}))(t).NetworkAcl.NetworkAclId
	entry := func(number int32, egress bool, action types.RuleAction, from, to int32) {
		must(c.CreateNetworkAclEntry(ctx, &ec2.CreateNetworkAclEntryInput{
			NetworkAclId: &b.acl, RuleNumber: &number, Egress: &egress, RuleAction: action, Protocol: aws.String("6"),
			CidrBlock: aws.String("203.0.113.0/24"), PortRange: &types.PortRange{From: &from, To: &to},
		}))(t)
	}
	entry(100, false, "allow", 32768, 65535)
	entry(110, false, "deny", 1024, 32767)
	entry(100, true, "allow", 21, 21)
	acls := must(c.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{b.public}}}}))(t)
	for _, a := range acls.NetworkAcls[0].Associations {
		if *a.SubnetId == b.public {
			must(c.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: a.NetworkAclAssociationId, NetworkAclId: &b.acl}))(t)
		}
	}
	b.acls = 2 // of the VPC: its default one, too

	b.list = *must(c.CreateManagedPrefixList(ctx, &ec2.CreateManagedPrefixListInput{
		PrefixListName: aws.String("ftp-servers"), AddressFamily: aws.String("IPv4"), MaxEntries: aws.Int32(200), Entries: entries(150),
	}))(t).PrefixList.PrefixListId

	group := func(vpc, name string) string {
		out := must(c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: &vpc}))(t)
		return *out.GroupId
	}
	b.clients, b.servers, b.far = group(b.vpc, "ftp-client"), group(b.vpc, "ftp-server"), group(b.peer, "far")
	allow := func(to string, p types.IpPermission) {
		p.IpProtocol, p.FromPort, p.ToPort = aws.String("tcp"), aws.Int32(21), aws.Int32(21)
		must(c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &to, IpPermissions: []types.IpPermission{p}}))(t)
	}
	allow(b.servers, types.IpPermission{UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &b.clients, Description: aws.String("the clients")}}})
	allow(b.servers, types.IpPermission{PrefixListIds: []types.PrefixListId{{PrefixListId: &b.list}}})
	allow(b.servers, types.IpPermission{UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &b.far}}})
	b.moreThanAPage = 250
	for k := range b.moreThanAPage {
		group(b.peer, fmt.Sprint("filler-", k))
	}
	b.groups = 3 + 1 // with the default one, and the one of the peer

	igw := *must(c.CreateInternetGateway(ctx, nil))(t).InternetGateway.InternetGatewayId
	must(c.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: &igw, VpcId: &b.vpc}))(t)
	eip := must(c.AllocateAddress(ctx, &ec2.AllocateAddressInput{Domain: "vpc"}))(t)
	b.natPublicAddr = *eip.PublicIp
	b.nat = *must(c.CreateNatGateway(ctx, &ec2.CreateNatGatewayInput{SubnetId: &b.public, AllocationId: eip.AllocationId}))(t).NatGateway.NatGatewayId
	table := func(subnet string, r ec2.CreateRouteInput) string {
		id := must(c.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &b.vpc}))(t).RouteTable.RouteTableId
		r.RouteTableId, r.DestinationCidrBlock = id, aws.String("0.0.0.0/0")
		must(c.CreateRoute(ctx, &r))(t)
		must(c.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: id, SubnetId: &subnet}))(t)
		return *id
	}
	b.publicTable = table(b.public, ec2.CreateRouteInput{GatewayId: &igw})
	table(b.private, ec2.CreateRouteInput{NatGatewayId: &b.nat})

	face := func(subnet, group string) types.NetworkInterface {
		return *must(c.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet, Groups: []string{group}, Description: aws.String("a <client> & more")}))(t).NetworkInterface
	}
	client := face(b.private, b.clients)
	b.interfaces, b.clientAddr = *client.NetworkInterfaceId, *client.PrivateIpAddress
	b.peerInterface = *face(peerSubnet, b.far).NetworkInterfaceId
	for _, vpc := range []string{b.vpc, b.peer} {
		must(c.CreateFlowLogs(ctx, &ec2.CreateFlowLogsInput{
			ResourceIds: []string{vpc}, ResourceType: "VPC", TrafficType: "ALL",
			LogDestinationType: "cloud-watch-logs", LogGroupName: aws.String("flow-" + vpc),
			DeliverLogsPermissionArn: aws.String("arn:aws:iam::123456789012:role/flow"),
		}))(t)
	}
	return b
}

// entries are n prefix list entries.
func entries(n int) []types.AddPrefixListEntry {
	list := make([]types.AddPrefixListEntry, n)
	for k := range list {
		list[k].Cidr = aws.String(fmt.Sprintf("198.51.100.%d/32", k))
	}
	return list
}

// must is what a call returns, if it did not fail.
func must[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestSnapshotOfMoto(t *testing.T) {
	setAWS(t, "key", "secret")
	url := sourcetest.Moto(t)
	b := build(t, url)
	dir := filepath.Join(t.TempDir(), "network")
	code, out, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--vpc", b.vpc, "--out", dir)
	if code != ExitDone || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, line := range []string{
		"2 network ACLs", "4 security groups", "2 subnets", "1 NAT gateways", "3 route tables", "1 prefix lists", "1 flow logs",
		"next: ephemera analyze --network " + dir,
	} {
		if !strings.Contains(out, line) {
			t.Errorf("it does not say %q:\n%s", line, out)
		}
	}
	n := onlyNetwork(t, dir)
	checkNetwork(t, n, b)

	t.Run("as the CLI", func(t *testing.T) { compareWithBoto(t, url, dir, b) })
	t.Run("unchanged", func(t *testing.T) {
		code, out, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--vpc", b.vpc, "--out", dir)
		if code != ExitDone || !strings.HasPrefix(out, "unchanged since "+dir) {
			t.Errorf("exit code %d: %s%s", code, out, errs)
		}
		onlyNetwork(t, dir)
	})
	t.Run("whole region", func(t *testing.T) {
		all := filepath.Join(t.TempDir(), "network")
		if code, _, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--out", all); code != ExitDone {
			t.Fatal(errs)
		}
		if got, least := len(onlyNetwork(t, all).Groups()), b.moreThanAPage; got < least {
			t.Errorf("got %d security groups, want more than %d", got, least)
		}
	})
	t.Run("for a log", func(t *testing.T) { testSnapshotFor(t, url, b) })
	t.Run("analyze takes it", func(t *testing.T) {
		code, _, errs := runMain(t.Context(), "analyze", "--network", dir, article+"/logs")
		if code != ExitDone || strings.Contains(errs, dir) {
			t.Errorf("exit code %d: %s", code, errs)
		}
	})
	t.Run("no such VPC", func(t *testing.T) {
		code, _, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--vpc", "vpc-0badbadbad", "--out", dir)
		if code != ExitFailed || !strings.Contains(errs, "vpc-0badbadbad: no such VPC here") {
			t.Errorf("exit code %d: %s", code, errs)
		}
	})
}

// onlyNetwork reads the one snapshot in dir.
func onlyNetwork(t *testing.T, dir string) *rules.Network {
	t.Helper()
	h, err := rules.ReadDir(dir)
	if err != nil || len(h.Warnings()) > 0 || len(h.Networks()) != 1 {
		t.Fatalf("got %d networks, warnings %q, error %v", len(h.Networks()), h.Warnings(), err)
	}
	return h.Networks()[0]
}

func checkNetwork(t *testing.T, n *rules.Network, b built) {
	t.Helper()
	if since := time.Since(n.Time); since < 0 || since > 5*time.Minute {
		t.Errorf("it is of %v", n.Time)
	}
	if len(n.ACLs()) != b.acls || len(n.Groups()) != b.groups {
		t.Errorf("got %d network ACLs and %d groups, want %d and %d", len(n.ACLs()), len(n.Groups()), b.acls, b.groups)
	}
	var got []string
	for _, e := range n.ACLOf(b.public).Entries {
		got = append(got, fmt.Sprint(e.Egress, e.RuleNumber, e.Allow, e.Ports))
	}
	want := []string{
		fmt.Sprint(false, 100, true, rules.PortRange{From: 32768, To: 65535}), fmt.Sprint(false, 110, false, rules.PortRange{From: 1024, To: 32767}),
		fmt.Sprint(true, 100, true, rules.PortRange{From: 21, To: 21}),
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("the entry %s is missing: %q", w, got)
		}
	}
	if a := n.ACLOf(b.private); a == nil || !a.IsDefault {
		t.Errorf("the private subnet's network ACL is %+v, want the default one", a)
	}
	out, err := flow.ParseAddr("203.0.113.10")
	if err != nil {
		t.Fatal(err)
	}
	if hop, ok := n.NextHop(b.private, out); !ok || hop.Target != b.nat {
		t.Errorf("from the private subnet it goes to %+v", hop)
	}
	if hop, ok := n.NextHop(b.public, out); !ok || !strings.HasPrefix(hop.Target, "igw-") {
		t.Errorf("from the public subnet it goes to %+v", hop)
	}
	if g := n.NATGateway(b.nat); g == nil || len(g.PublicAddrs) != 1 || g.PublicAddrs[0].String() != b.natPublicAddr {
		t.Errorf("the NAT gateway is %+v", g)
	}
	server := n.Group(b.servers)
	if server == nil || len(server.Ingress) != 3 {
		t.Fatalf("the servers' group is %+v", server)
	}
	for _, from := range []string{b.clientAddr, "198.51.100.149", n.Interface(b.peerInterface).Primary.String()} {
		a, err := flow.ParseAddr(from)
		if err != nil {
			t.Fatal(err)
		}
		if !n.GroupPorts([]string{b.servers}, flow.Ingress, a, flow.TCP).Contains(21) {
			t.Errorf("%s does not get in", from)
		}
	}
}

// asTheCLI prints a call's pages as the AWS CLI does, which uses the same
// library: botocore.
const asTheCLI = `
import boto3, json, sys
url, name, key, parameters = sys.argv[1:5]
c = boto3.client("ec2", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
call = getattr(c, name)
pages = c.get_paginator(name).paginate(**json.loads(parameters)) if c.can_paginate(name) else [call(**json.loads(parameters))]
print(json.dumps({key: [x for p in pages for x in p[key]]}, default=lambda t: t.isoformat()))
`

// compareWithBoto compares every file with what the AWS CLI would print.
func compareWithBoto(t *testing.T, url, dir string, b built) {
	listing, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil || len(listing) != 9 {
		t.Fatalf("got %d files, %v, want one for each of the nine calls", len(listing), err)
	}
	inVPC := `{"Filters":[{"Name":"vpc-id","Values":["` + b.vpc + `"]}]}`
	for _, test := range []struct{ file, call, key, parameters string }{
		{"describe-network-acls", "describe_network_acls", "NetworkAcls", inVPC},
		{"describe-subnets", "describe_subnets", "Subnets", inVPC},
		{"describe-nat-gateways", "describe_nat_gateways", "NatGateways", inVPC},
		{"describe-route-tables", "describe_route_tables", "RouteTables", inVPC},
		{"describe-flow-logs", "describe_flow_logs", "FlowLogs", `{"Filters":[{"Name":"resource-id","Values":["` + b.vpc + `"]}]}`},
		{"describe-managed-prefix-lists", "describe_managed_prefix_lists", "PrefixLists", `{"PrefixListIds":["` + b.list + `"]}`},
		{"get-managed-prefix-list-entries-" + b.list, "get_managed_prefix_list_entries", "Entries", `{"PrefixListId":"` + b.list + `"}`},
		// With the group of the other VPC, and its interface.
		{"describe-security-groups", "describe_security_groups", "SecurityGroups", `{"GroupIds":["` + strings.Join([]string{b.clients, b.servers, b.far, defaultGroup(t, url, b.vpc)}, `","`) + `"]}`},
		{"describe-network-interfaces", "describe_network_interfaces", "NetworkInterfaces", `{"Filters":[{"Name":"vpc-id","Values":["` + b.vpc + `","` + b.peer + `"]}]}`},
	} {
		files, err := filepath.Glob(filepath.Join(dir, "*", test.file+".json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: got %q, %v", test.file, files, err)
		}
		want := python(t, asTheCLI, url, test.call, test.key, test.parameters)
		got, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if g, w := parsed(t, got), parsed(t, want); !reflect.DeepEqual(g, w) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.file, got, want)
		}
	}
}

// parsed is a document, with its list in the order of what the items look
// like.
func parsed(t *testing.T, data []byte) any {
	t.Helper()
	var doc map[string][]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, list := range doc {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return doc
}

func defaultGroup(t *testing.T, url, vpc string) string {
	t.Helper()
	c := ec2.NewFromConfig(motoConfig(url))
	out := must(c.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{vpc}}, {Name: aws.String("group-name"), Values: []string{"default"}},
	}}))(t)
	return *out.SecurityGroups[0].GroupId
}

// testSnapshotFor takes the VPC from logs that name it, and from logs that
// name interfaces, of which one is gone.
func testSnapshotFor(t *testing.T, url string, b built) {
	const line = "2 123456789012 %s 10.0.1.5 203.0.113.10 40000 21 6 1 44 1795370837 1795370861 ACCEPT OK\n"
	for _, test := range []struct{ name, log, warning string }{
		{"vpc-id", "version vpc-id interface-id start end log-status\n5 " + b.vpc + " eni-00 1795370837 1795370861 OK\n", ""},
		{"interface-id", "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n" +
			fmt.Sprintf(line, b.interfaces) + fmt.Sprintf(line, "eni-0deadbeef0"), "1 of 2 in the log are not here any more, or of another account or region: eni-0deadbeef0"},
	} {
		log := filepath.Join(t.TempDir(), "flows.log")
		if err := os.WriteFile(log, []byte(test.log), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "network")
		code, _, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--for", log, "--out", dir)
		if code != ExitDone || !strings.Contains(errs, test.warning) || test.warning == "" && errs != "" {
			t.Errorf("%s: exit code %d: %s", test.name, code, errs)
			continue
		}
		checkNetwork(t, onlyNetwork(t, dir), b)
	}
}

// Ctrl-C, and an address where nothing listens, end it within a second and
// leave nothing.
func TestSnapshotEnds(t *testing.T) {
	setAWS(t, "key", "secret")
	url := sourcetest.Moto(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx  context.Context
		url  string
		want string
	}{
		{cancelled, url, "interrupted"},
		{t.Context(), "http://" + freeAddr(t), "connection refused"},
	} {
		dir := filepath.Join(t.TempDir(), "network")
		start := time.Now()
		code, _, errs := runMain(test.ctx, "snapshot", "--endpoint-url", test.url, "--out", dir)
		if code != ExitFailed || !strings.Contains(errs, test.want) {
			t.Errorf("%s: exit code %d: %s", test.want, code, errs)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: took %v", test.want, d)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: there is a directory", test.want)
		}
	}
}

// asUser makes a user who has the policy of docs/iam.md without one action,
// and prints its key.
const asUser = `
import boto3, re, sys
url, page, without = sys.argv[1:4]
text = open(page).read().split("\n## Snapshot\n")[1]
policy = re.search(r"\x60{3}json\n(.*?)\x60{3}", text, re.S).group(1).replace("ec2:" + without + '"', 'ec2:None"')
iam = boto3.client("iam", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
name = "without-" + without
iam.create_user(UserName=name)
iam.put_user_policy(UserName=name, PolicyName="ephemera", PolicyDocument=policy)
key = iam.create_access_key(UserName=name)["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
`

// The policy in docs/iam.md is enough, as moto understands IAM, and without
// one of its actions the program says which.
func TestSnapshotPermissions(t *testing.T) {
	url := sourcetest.Moto(t)
	b := build(t, url)
	for _, test := range []struct {
		without string
		code    int
		want    string
	}{
		{"", ExitDone, ""},
		{"DescribeNetworkAcls", ExitFailed, ""},
		{"DescribeSecurityGroups", ExitFailed, ""},
		{"DescribeNetworkInterfaces", ExitFailed, ""},
		{"DescribeSubnets", ExitFailed, ""},
		{"DescribeNatGateways", ExitDone, "NAT gateways are known by their interfaces only"},
		{"DescribeRouteTables", ExitDone, "the way from a subnet to the internet is not known"},
		{"DescribeFlowLogs", ExitDone, "where flow logs are delivered"},
		{"DescribeManagedPrefixLists", ExitDone, "the names of prefix lists"},
		{"GetManagedPrefixListEntries", ExitDone, "entries of " + b.list},
	} {
		authorize(t, url, false)
		keys := strings.Fields(string(python(t, asUser, url, "../../../docs/iam.md", test.without)))
		authorize(t, url, true)
		setAWS(t, keys[0], keys[1])
		code, _, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--vpc", b.vpc, "--out", filepath.Join(t.TempDir(), "network"))
		denied := ""
		if test.without != "" {
			denied = "ec2:" + test.without + ": access denied for arn:aws:iam::123456789012:user/without-" + test.without
		}
		if code != test.code || !strings.Contains(errs, denied) || !strings.Contains(errs, test.want) || denied == "" && errs != "" {
			t.Errorf("without %q: exit code %d, want %d with %s %s:\n%s", test.without, code, test.code, denied, test.want, errs)
		}
	}
	setAWS(t, "AKIAUNKNOWN", "secret")
	if code, _, errs := runMain(t.Context(), "snapshot", "--endpoint-url", url, "--out", t.TempDir()); code != ExitFailed || !strings.Contains(errs, "AuthFailure") {
		t.Errorf("with an unknown key: exit code %d:\n%s", code, errs)
	}
}

// authorize switches moto's authorization.
func authorize(t *testing.T, url string, on bool) {
	t.Helper()
	allowed := "inf" // requests before it starts
	if on {
		allowed = "0"
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Post(url+"/moto-api/reset-auth", "text/plain", strings.NewReader(allowed))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}
