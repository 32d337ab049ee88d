package analyze

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A plain passive session: login, one download of 10,000 bytes, QUIT.
var passiveSession = []string{
	"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
	"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
}

func TestScenarioWays(t *testing.T) {
	play(t, []scenario{
		{
			name:  "passive through a NAT gateway",
			calls: passiveSession,
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
				"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417",
				"no reject",
			},
		},
		{
			name: "two clients with the same ports behind one NAT gateway",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
				"10.0.1.6:40000 > 10.0.0.220:20003 > 203.0.113.10:21 15p/880b 13p/1300b 100..112",
				"10.0.1.6:40001 > 10.0.0.220:20004 > 203.0.113.10:50012 7p/372b 12p/12528b 105..108",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"session 10.0.1.6:40000 > 203.0.113.10:21 nat 10.0.0.220:20003 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:20002 passive of 40000 ok",
				"data 10.0.1.6:40001 > 203.0.113.10:50012 nat 10.0.0.220:20004 passive of 40000 ok",
			},
		},
		{
			name: "client and NAT gateway in one subnet",
			calls: []string{
				"10.0.1.5:40000 > 10.0.1.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40001 > 10.0.1.220:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
			},
			net: []string{"nat nat-private eni-nat-private 10.0.1.220 subnet-private", "route subnet-private 0.0.0.0/0 nat-private"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.1.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.1.220:31417 passive of 40000 ok",
				"no reject",
			},
		},
		{
			name: "client in a public subnet, no NAT gateway",
			calls: []string{
				"10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.0.7:40001 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
			},
			net: []string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client"},
			want: []string{
				"session 10.0.0.7:40000 > 203.0.113.10:21 passive 1 ok",
				"data 10.0.0.7:40001 > 203.0.113.10:50010 passive of 40000 ok",
				"no map",
			},
		},
		{
			name: "server in another subnet of the VPC",
			calls: []string{
				"10.0.1.5:40000 > 10.0.2.9:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40001 > 10.0.2.9:50010 6p/320b 10p/10528b 105..108",
			},
			net: serverSubnet,
			want: []string{
				"session 10.0.1.5:40000 > 10.0.2.9:21 passive 1 ok",
				"data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 ok",
				"no map",
			},
		},
		{
			name: "two NAT gateways, each serving both clients",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40001 > 10.0.0.230:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
				"10.0.1.6:40000 > 10.0.0.230:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.6:40001 > 10.0.0.220:20002 > 203.0.113.10:50011 6p/320b 10p/10528b 105..108",
			},
			net: []string{"nat nat-2 eni-nat2 10.0.0.230 subnet-public"},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
				"session 10.0.1.6:40000 > 203.0.113.10:21 nat 10.0.0.230:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.230:20002 passive of 40000 ok",
				"data 10.0.1.6:40001 > 203.0.113.10:50011 nat 10.0.0.220:20002 passive of 40000 ok",
			},
		},
		{
			name: "IPv6 through an egress-only gateway",
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 14p/1100b 12p/1440b 100..112",
				"[2600:1f18::5]:40001 > [2001:db8::10]:50010 6p/440b 10p/10728b 105..108",
			},
			net: []string{
				"subnet subnet-six 10.0.6.0/24,2600:1f18::/64 acl-six", "eni eni-2600:1f18::5 10.0.6.5,2600:1f18::5 subnet-six sg-six",
				"route subnet-six ::/0 eigw-1", "sg-six out all ::/0", "acl-six in 100 allow all ::/0", "acl-six out 100 allow all ::/0",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 passive 1 ok",
				"data [2600:1f18::5]:40001 > [2001:db8::10]:50010 passive of 40000 ok",
				"no reject",
			},
		},
		{
			name: "a long session in several windows, with idle windows between",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 24p/1420b 20p/2000b 100..110,290..300,560..570",
				"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
				"10.0.1.5:40002 > 10.0.0.220:20003 > 203.0.113.10:50020 60p/3128b 90p/110000b 294..562",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 2 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:20002 passive of 40000 ok",
				"data 10.0.1.5:40002 > 203.0.113.10:50020 nat 10.0.0.220:20003 passive of 40000 ok",
				"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:20002", "map 10.0.1.5:40002 = 10.0.0.220:20003",
			},
		},
		{
			name: "no low port is taken for the server",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:59000 > 10.0.0.220:61000 > 203.0.113.10:1025 6p/320b 10p/10528b 102..104",
				"10.0.1.5:33000 > 10.0.0.220:1024 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 2 ok",
				"data 10.0.1.5:59000 > 203.0.113.10:1025 nat 10.0.0.220:61000 passive of 40000 ok",
				"data 10.0.1.5:33000 > 203.0.113.10:50010 nat 10.0.0.220:1024 passive of 40000 ok",
			},
		},
		{
			name: "a port reused after FIN",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
				"10.0.1.5:40000 > 10.0.0.220:20009 > 203.0.113.10:21 14p/830b 12p/1210b 540..552",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-data",
				"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20009 none 0 no-data",
			},
		},
		{
			name: "implicit TLS",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:990 20p/3000b 18p/6000b 100..112",
				"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.10:50010 10p/1300b 14p/14000b 105..108",
			},
			want: []string{
				"session 10.0.1.5:40000 > 203.0.113.10:990 nat 10.0.0.220:20001 passive 1 ok",
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:20002 passive of 40000 ok",
			},
		},
	})
}

// serverSubnet adds an FTP server inside the VPC.
var serverSubnet = []string{
	"subnet subnet-server 10.0.2.0/24 acl-server", "eni eni-10.0.2.9 10.0.2.9 subnet-server sg-server", "route subnet-server 0.0.0.0/0 igw-1",
	"acl-server in 100 allow all 0.0.0.0/0", "acl-server out 100 allow all 0.0.0.0/0",
	"sg-server in all 10.0.0.0/16", "sg-server out all 0.0.0.0/0",
}

// ruleLine gives "P1 egress sg sg-client control fixed".
func ruleLine(u RuleUse) string {
	return fmt.Sprintf("%s %s %s %s %s", u.Point, u.Direction, u.FilterID, u.Purpose, u.ChosenBy)
}

func ruleLines(r *Result) []string {
	var ls []string
	for _, u := range r.Rules {
		ls = append(ls, ruleLine(u))
	}
	return ls
}

func expectRules(t *testing.T, r *Result, want ...string) {
	t.Helper()
	if got := ruleLines(r); !slices.Equal(got, want) {
		t.Errorf("rules:\n got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// elevenRules are those that passive FTP needs through a NAT gateway.
var elevenRules = []string{
	"P1 egress sg-client control fixed", "P1 egress sg-client data server",
	"P1 egress acl-private control fixed", "P1 egress acl-private data server",
	"P2 ingress acl-public control fixed", "P2 ingress acl-public data server",
	"P3 egress acl-public control fixed", "P3 egress acl-public data server",
	"P4 ingress acl-public reply nat-gateway",
	"P5 egress acl-public reply client-os",
	"P6 ingress acl-private reply client-os",
}

func TestScenarioElevenRules(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		expectRules(t, analysed(t, calls(f, passiveSession...), Options{Network: network(t)}), elevenRules...)
	})
}

func TestScenarioRulesWithoutNACLInsideASubnet(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := calls(f, "10.0.1.5:40000 > 10.0.1.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
			"10.0.1.5:40001 > 10.0.1.220:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108")
		net := network(t, "nat nat-private eni-nat-private 10.0.1.220 subnet-private", "route subnet-private 0.0.0.0/0 igw-1",
			"route subnet-private 203.0.113.0/24 nat-private")
		expectRules(t, analysed(t, rs, Options{Network: net}),
			"P1 egress sg-client control fixed", "P1 egress sg-client data server",
			"P3 egress acl-private control fixed", "P3 egress acl-private data server",
			"P4 ingress acl-private reply nat-gateway")
	})
}

func TestScenarioRulesWithoutNAT(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := calls(f, "10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
			"10.0.0.7:40001 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108")
		expectRules(t, analysed(t, rs, Options{Network: network(t, "eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client")}),
			"P1 egress sg-client control fixed", "P1 egress sg-client data server",
			"P1 egress acl-public control fixed", "P1 egress acl-public data server",
			"P6 ingress acl-public reply client-os")
	})
}

func TestScenarioSecondaryNATAddress(t *testing.T) {
	secondary := []string{
		"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
		"10.0.1.5:40001 > 10.0.0.221:20002 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
	}
	for _, tt := range []struct {
		f    logFormat
		want string
	}{
		{rich, "map 10.0.1.5:40001 = 10.0.0.221:20002"},  // pkt-srcaddr names the address
		{plain, "map 10.0.1.5:40001 = 10.0.0.220:20002"}, // srcaddr is always the primary one
	} {
		for _, net := range [][]string{{}, {"nat nat-1 eni-nat 10.0.0.220,10.0.0.221 subnet-public"}} {
			t.Run(fmt.Sprint(tt.f.name, len(net)), func(t *testing.T) {
				r := analysed(t, calls(tt.f, secondary...), Options{Network: network(t, net...)})
				expect(t, r, tt.want, "map 10.0.1.5:40000 = 10.0.0.220:20001")
			})
		}
	}
}

// Without a snapshot the log itself has to show which interface is a NAT
// gateway's.
func TestScenarioNATGatewayFoundWithoutSnapshot(t *testing.T) {
	several := slices.Concat(passiveSession, []string{
		"10.0.1.6:41000 > 10.0.0.220:20003 > 203.0.113.10:21 15p/880b 13p/1300b 200..212",
		"10.0.1.6:41001 > 10.0.0.220:20004 > 203.0.113.10:50012 7p/372b 12p/12528b 205..208",
	})
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, several...), Options{})
		if len(r.NATGateways) != 1 || r.NATGateways[0].InterfaceID != "eni-nat" || r.NATGateways[0].Mapped != 4 {
			t.Errorf("NAT gateways: got %+v, want eni-nat with 4 connections", r.NATGateways)
		}
		expect(t, r,
			"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok",
			"session 10.0.1.6:41000 > 203.0.113.10:21 nat 10.0.0.220:20003 passive 1 ok",
			"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 ok",
			"data 10.0.1.6:41001 > 203.0.113.10:50012 nat 10.0.0.220:20004 passive of 41000 ok")
	})
}

func TestScenarioRegionalNATGateway(t *testing.T) {
	regional := []string{
		"10.0.1.5:40000 > 10.0.9.9:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112",
		"10.0.1.5:40001 > 10.0.9.9:31417 > 203.0.113.10:50010 6p/320b 10p/10528b 105..108",
	}
	for _, net := range [][]string{nil, {"nat nat-0regional - - -", "route subnet-private 0.0.0.0/0 nat-0regional"}} {
		o := Options{}
		if net != nil {
			o.Network = network(t, net...)
		}
		r := analysed(t, calls(rich, regional...), o)
		expect(t, r,
			"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.9.9:20001 passive 1 ok",
			"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.9.9:31417 passive of 40000 ok")
		if len(r.NATGateways) != 1 || r.NATGateways[0].GatewayID != "nat-0regional" {
			t.Errorf("NAT gateways: got %+v, want nat-0regional", r.NATGateways)
		}
		if net != nil { // no subnet, so no network ACL at the gateway
			expectRules(t, r,
				"P1 egress sg-client control fixed", "P1 egress sg-client data server",
				"P1 egress acl-private control fixed", "P1 egress acl-private data server",
				"P6 ingress acl-private reply client-os")
		}
	}
}

// Between two private addresses nothing but FTP itself tells, in a log
// without flags, who opened a data connection.
func TestScenarioRulesOfAServerInTheVPC(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		r := analysed(t, calls(f, "10.0.1.5:40000 > 10.0.2.9:21 14p/820b 12p/1200b 100..112",
			"10.0.1.5:40001 > 10.0.2.9:50010 6p/320b 10p/10528b 105..108"), Options{Network: network(t, serverSubnet...)})
		expectRules(t, r, serverRules...)
		for _, p := range r.Ports {
			if p.Purpose == "other" {
				t.Errorf("got %s, want nothing but FTP", p.Slot)
			}
		}
	})
}
