//go:build real

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// A site is the article's network in moto, behind a proxy that sees what
// changes it.
type site struct {
	*testing.T
	moto, proxy string
	ec2         *ec2.Client
	vpc, group  string
	ids         map[string]string // moto's, by the article's

	states  []rules.RuleSet // after each change
	watched bool
	failAt  int // the change that the proxy refuses, from 1; none if 0
	changes int
}

// newSite builds it. The clients' group lets out what it needs by ranges of
// ports, so that there is something to narrow there, too.
func newSite(t *testing.T) *site {
	setAWS(t, "key", "secret")
	s := &site{T: t, moto: sourcetest.Moto(t), ids: map[string]string{}}
	s.ec2 = ec2.NewFromConfig(motoConfig(s.moto))
	ctx := t.Context()
	article := onlyNetwork(t, filepath.Join(article, "config"))
	s.vpc = *must(s.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t).Vpc.VpcId
	for _, x := range article.Subnets() {
		s.ids[x.VPCID] = s.vpc
		out := must(s.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &s.vpc, CidrBlock: aws.String(x.Prefixes[0].String()), AvailabilityZone: aws.String("us-east-1a")}))(t)
		s.ids[x.ID] = *out.Subnet.SubnetId
	}
	for _, x := range article.ACLs() {
		s.addACL(x)
	}
	for _, x := range article.Groups() {
		s.addGroup(x)
	}
	igw := must(s.ec2.CreateInternetGateway(ctx, nil))(t).InternetGateway.InternetGatewayId
	must(s.ec2.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: &s.vpc}))(t)
	gateway := article.NATGateways()[0]
	eip := must(s.ec2.AllocateAddress(ctx, &ec2.AllocateAddressInput{Domain: "vpc"}))(t)
	nat := must(s.ec2.CreateNatGateway(ctx, &ec2.CreateNatGatewayInput{SubnetId: aws.String(s.ids[gateway.SubnetID]), AllocationId: eip.AllocationId}))(t).NatGateway
	s.ids[gateway.ID] = *nat.NatGatewayId
	s.ids[gateway.Interfaces[0]] = *nat.NatGatewayAddresses[0].NetworkInterfaceId
	s.ids[gateway.PrivateAddrs[0].String()] = *nat.NatGatewayAddresses[0].PrivateIp
	for _, x := range article.Interfaces() {
		if !x.IsNATGateway() {
			out := must(s.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
				SubnetId: aws.String(s.ids[x.SubnetID]), Groups: []string{s.group}, PrivateIpAddress: aws.String(x.Primary.String()),
			}))(t)
			s.ids[x.ID] = *out.NetworkInterface.NetworkInterfaceId
		}
	}
	for _, x := range article.Subnets() {
		table := must(s.ec2.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &s.vpc}))(t).RouteTable.RouteTableId
		route := &ec2.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: igw}
		if x.ID != gateway.SubnetID {
			route.GatewayId, route.NatGatewayId = nil, nat.NatGatewayId
		}
		must(s.ec2.CreateRoute(ctx, route))(t)
		must(s.ec2.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: table, SubnetId: aws.String(s.ids[x.ID])}))(t)
	}
	s.startProxy()
	return s
}

func (s *site) addACL(x *rules.NetworkACL) {
	ctx := s.Context()
	id := must(s.ec2.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: &s.vpc}))(s.T).NetworkAcl.NetworkAclId
	s.ids[x.ID] = *id
	for _, e := range x.Entries {
		if !e.IsDefault() {
			s.addEntry(*id, e)
		}
	}
	for _, subnet := range x.Subnets {
		here := must(s.ec2.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{s.ids[subnet]}}}}))(s.T)
		for _, a := range here.NetworkAcls[0].Associations {
			if *a.SubnetId == s.ids[subnet] {
				must(s.ec2.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: a.NetworkAclAssociationId, NetworkAclId: id}))(s.T)
			}
		}
	}
}

func (s *site) addEntry(acl string, e rules.Entry) {
	s.Helper()
	action := types.RuleActionDeny
	if e.Allow {
		action = types.RuleActionAllow
	}
	must(s.ec2.CreateNetworkAclEntry(s.Context(), &ec2.CreateNetworkAclEntryInput{
		NetworkAclId: &acl, RuleNumber: aws.Int32(int32(e.RuleNumber)), Egress: &e.Egress, RuleAction: action, Protocol: aws.String(fmt.Sprint(e.Protocol)),
		CidrBlock: aws.String(e.Prefix.String()), PortRange: &types.PortRange{From: aws.Int32(int32(e.Ports.From)), To: aws.Int32(int32(e.Ports.To))},
	}))(s.T)
}

func (s *site) addGroup(x *rules.SecurityGroup) {
	ctx := s.Context()
	out := must(s.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &x.Name, Description: &x.Name, VpcId: &s.vpc}))(s.T)
	s.group, s.ids[x.ID] = *out.GroupId, *out.GroupId
	anywhere := []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}
	must(s.ec2.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &s.group, IpPermissions: []types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: anywhere}}}))(s.T)
	for _, p := range []struct {
		protocol string
		from, to int32
	}{{"tcp", 0, 1023}, {"tcp", 1024, 65535}, {"udp", 0, 65535}} {
		must(s.ec2.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{
			GroupId: &s.group, IpPermissions: []types.IpPermission{{IpProtocol: &p.protocol, FromPort: &p.from, ToPort: &p.to, IpRanges: anywhere}},
		}))(s.T)
	}
	must(s.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &s.group, IpPermissions: []types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/24")}}}},
	}))(s.T)
}

// logs writes the article's log as that of this network.
func (s *site) logs() string {
	header, lines := articleLines(s.T)
	text := header + "\n" + strings.Join(lines, "\n") + "\n"
	text = regexp.MustCompile(`\b[a-z]+-[0-9a-f]{17}\b|\b10\.0\.0\.220\b`).ReplaceAllStringFunc(text, func(word string) string {
		if id := s.ids[word]; id != "" {
			return id
		}
		return word
	})
	name := filepath.Join(s.TempDir(), "flows.log")
	writeFile(s.T, name, []byte(text))
	return name
}

// calls are those that change rules.
var changing = regexp.MustCompile(`\bAction=(Create|Replace|Delete)NetworkAclEntry\b|\bAction=(Authorize|Revoke)SecurityGroup`)

// startProxy starts a proxy of moto that takes the state after each change.
func (s *site) startProxy() {
	target, err := url.Parse(s.moto)
	if err != nil {
		s.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		change := changing.Match(body)
		if change {
			s.changes++
			if s.changes == s.failAt {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>not you</Message></Error></Errors><RequestID>1</RequestID></Response>`)
				return
			}
		}
		forward.ServeHTTP(w, r)
		if change && s.watched {
			s.states = append(s.states, s.state())
		}
	}))
	s.Cleanup(server.Close)
	s.proxy = server.URL
}

// snapshot takes the network with the program itself.
func (s *site) snapshot() string {
	dir := filepath.Join(s.TempDir(), "network")
	if code, _, errs := runMain(s.Context(), "snapshot", "--endpoint-url", s.moto, "--vpc", s.vpc, "--out", dir); code != ExitDone {
		s.Fatal(errs)
	}
	return dir
}

// state is what the rules that the article has are now.
func (s *site) state() rules.RuleSet {
	n := onlyNetwork(s.T, s.snapshot())
	var set rules.RuleSet
	for _, a := range n.ACLs() {
		if !a.IsDefault {
			set.ACLs = append(set.ACLs, a)
		}
	}
	set.Groups = append(set.Groups, n.Group(s.group))
	return set
}

// bash runs a script with the AWS CLI.
func (s *site) bash(script string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", script, "--endpoint-url", s.proxy)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(os.Getenv("EPHEMERA_MOTO"))+":"+os.Getenv("PATH"), "AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ruleLines are a rule set in words, in an order of their own.
func ruleLines(set rules.RuleSet) []string {
	var lines []string
	for _, a := range set.ACLs {
		for _, e := range a.Entries {
			if !e.IsDefault() {
				lines = append(lines, fmt.Sprintf("%s %s %s", a.ID, e.Direction(), e))
			}
		}
	}
	for _, g := range set.Groups {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			for _, r := range g.Rules(dir) {
				lines = append(lines, fmt.Sprintf("%s %s %s", g.ID, dir, r.Words(dir)))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (s *site) same(what string, got, want rules.RuleSet) {
	s.Helper()
	if g, w := ruleLines(got), ruleLines(want); !slices.Equal(g, w) {
		s.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
}

// safe checks that after each change all passes that passes before and after
// all of them, and nothing that passes neither before nor after.
func (s *site) safe(from, to rules.RuleSet) {
	s.Helper()
	for k, now := range s.states {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			check := func(id string, from, to, now []rules.Packets) {
				if gap := rules.SubtractPackets(rules.IntersectPackets(from, to), now); len(gap) > 0 {
					s.Errorf("%s %s: after change %d %s does not pass", id, dir, k+1, gap[0])
				}
				if hole := rules.SubtractPackets(now, slices.Concat(from, to)); len(hole) > 0 {
					s.Errorf("%s %s: after change %d %s passes", id, dir, k+1, hole[0])
				}
			}
			for _, a := range from.ACLs {
				check(a.ID, a.Allowed(dir), to.ACL(a.ID).Allowed(dir), now.ACL(a.ID).Allowed(dir))
			}
			for _, g := range from.Groups {
				check(g.ID, g.Allowed(dir), to.Group(g.ID).Allowed(dir), now.Group(g.ID).Allowed(dir))
			}
		}
	}
}

// The script makes EC2's rules those that were proposed, the one for the way
// back what they were, and on the way nothing is cut. It stops where the rules
// are others than when the proposal was made, and where a call fails.
func TestRulesOnMoto(t *testing.T) {
	s := newSite(t)
	network, logs := s.snapshot(), s.logs()
	out := filepath.Join(t.TempDir(), "proposal")
	code, said, errs := runMain(t.Context(), "rules", "--network", network, "--out", out, logs)
	if code != ExitDone || strings.Contains(errs, "stale") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	t.Log(said)
	apply, back := filepath.Join(out, "apply.sh"), filepath.Join(out, "rollback.sh")
	before := s.state()
	after := before
	proposed := must(rules.ReadRules(filepath.Join(out, "proposed")))(t)
	after.ACLs, after.Groups = slices.Clone(before.ACLs), slices.Clone(before.Groups)
	for k, a := range after.ACLs {
		if p := proposed.ACL(a.ID); p != nil {
			after.ACLs[k] = p
		}
	}
	for k, g := range after.Groups {
		if p := proposed.Group(g.ID); p != nil {
			after.Groups[k] = p
		}
	}
	if len(proposed.ACLs) != 2 || len(proposed.Groups) != 1 {
		t.Errorf("it is for %s, want both network ACLs and the group", proposed.IDs())
	}

	// Somebody edits the rules in between.
	edit := rules.Entry{RuleNumber: 7, Protocol: 6, Prefix: after.ACLs[0].Entries[0].Prefix, Ports: rules.PortRange{From: 7, To: 7}}
	s.addEntry(before.ACLs[0].ID, edit)
	edited := s.state()
	if said, err := s.bash(apply); err == nil || !strings.Contains(said, "not what it was when this script was made; nothing was changed") {
		t.Errorf("after an edit: %v\n%s", err, said)
	}
	s.same("after an edit", s.state(), edited)
	if s.changes > 0 {
		t.Errorf("after an edit %d calls changed something", s.changes)
	}
	must(s.ec2.DeleteNetworkAclEntry(t.Context(), &ec2.DeleteNetworkAclEntryInput{NetworkAclId: &before.ACLs[0].ID, RuleNumber: aws.Int32(7), Egress: aws.Bool(false)}))(t)

	s.watched = true
	if said, err := s.bash(apply); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	s.same("applied", s.state(), after)
	s.safe(before, after)
	if len(s.states) < 10 {
		t.Errorf("it took %d changes only", len(s.states))
	}
	if code, said, errs := runMain(t.Context(), "rules", "--network", s.snapshot(), "--only", "repair", "--as", "json", logs); code != ExitDone || !strings.Contains(said, `"steps": []`) {
		t.Errorf("when it was applied: exit code %d: %s%s", code, said, errs)
	}

	s.states = nil
	if said, err := s.bash(back); err != nil {
		t.Fatalf("the way back: %v\n%s", err, said)
	}
	s.same("the way back", s.state(), before)
	s.safe(after, before)

	// A call fails: the steps before it are done, and no other.
	s.failAt, s.states = s.changes+4, nil
	said, err := s.bash(apply)
	var failed *exec.ExitError
	if !errors.As(err, &failed) || !strings.Contains(said, "stopped at step 4 of") || s.changes != s.failAt || len(s.states) != 3 {
		t.Fatalf("the fourth call fails: %v, %d calls\n%s", err, s.changes, said)
	}
	s.same("after the fourth call failed", s.state(), s.states[2])
	s.safe(before, after)

	// From there a new proposal goes on.
	code, script, errs := runMain(t.Context(), "rules", "--network", s.snapshot(), "--as", "cli", logs)
	if code != ExitDone {
		t.Fatalf("a proposal from there: exit code %d: %s", code, errs)
	}
	rest := filepath.Join(t.TempDir(), "rest.sh")
	writeFile(t, rest, []byte(script))
	if said, err := s.bash(rest); err != nil {
		t.Fatalf("the rest: %v\n%s", err, said)
	}
	if code, said, errs := runMain(t.Context(), "rules", "--network", s.snapshot(), "--only", "repair", "--as", "json", logs); code != ExitDone || !strings.Contains(said, `"steps": []`) {
		t.Errorf("when the rest was applied: exit code %d: %s%s", code, said, errs)
	}
}
