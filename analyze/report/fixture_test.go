package report

import (
	"fmt"
	"strings"
	"time"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

const (
	sgID         = "sg-0c1e5f7a9b2d4680c"
	privateACL   = "acl-0a11b22c33d44e55f"
	publicACL    = "acl-0f9e8d7c6b5a49382"
	clientENI    = "eni-0c11e47000000001a"
	natENI       = "eni-0a47000000000002b"
	privateNet   = "subnet-0b1a2c3d4e5f60718"
	publicNet    = "subnet-0f1e2d3c4b5a69788"
	serverPrefix = "203.0.113.10/32"
)

func addr(s string) flow.Addr {
	a, err := flow.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func at(clock string) analyze.Time {
	t, err := time.Parse(time.DateTime, "2026-11-22 "+clock)
	if err != nil {
		panic(err)
	}
	return analyze.Time(t.Unix())
}

func ptr[T any](v T) *T { return &v }

// fixture is a small Result of the typical case: somebody narrowed the
// public network ACL's inbound rule to 32768-65535, while the NAT gateway
// picks 1024-65535, so that half of the answers are lost.
func fixture() *analyze.Result {
	r := &analyze.Result{
		Coverage: analyze.Coverage{
			Records: 18_432, NoData: 12, SkipData: 1, Duplicates: 0, BadRecords: 2,
			Start: at("10:00:00"), End: at("11:30:00"), Interfaces: 3,
			Snapshot: true, HeaderAddrs: true, Flags: true,
		},
		Findings: []analyze.Finding{
			{Severity: analyze.Broken, Rule: 9,
				Title:    "The public network ACL drops the server's answers to NAT ports below 32768",
				Detail:   "5 of 12 data connections opened, left the VPC, and lost their answer at the subnet of the NAT gateway. The gateway picks any port from 1024 to 65535 and cannot be told otherwise; the inbound entry allows 32768-65535.",
				Evidence: "5 REJECT flows at " + natENI + " ingress from 203.0.113.10 to ports 2048-30744; each answers a flow accepted at P3.",
				Advice:   "Allow tcp 1024-65535 from 203.0.113.10/32 in " + publicACL + " inbound, entry 120."},
			{Severity: analyze.Warn, Title: "One control connection was silent for more than 350 s during a transfer",
				Detail: "The NAT gateway forgot it; the client got RST when it went on.", Advice: "Turn on TCP keepalive below 350 s on the client."},
			{Severity: analyze.Info, Rule: 4, Title: "The private network ACL's outbound data rule can be narrowed to the server's passive range",
				Detail: "All 12 data connections went to 50000-50100, which the server's administrators configured."},
		},
		Rules:    fixtureRules(),
		Sessions: analyze.RowsOf(fixtureSessions()...),
		Data:     analyze.RowsOf(fixtureData()...),
		Mappings: analyze.RowsOf(fixtureMappings()...),
		Rejects:  analyze.RowsOf(fixtureRejects()...),
		Ports:    fixturePorts(),
		Changes:  fixtureChanges(),
		Proposal: fixtureProposal(),
		Replay:   fixtureReplay(),
		NATGateways: []analyze.NATInterface{{
			InterfaceID: natENI, GatewayID: "nat-0123456789abcdef0", SubnetID: publicNet,
			Addrs: []flow.Addr{addr("10.0.1.20")}, Evidence: "describe-nat-gateways.json", Mapped: 15, Unmapped: 0,
		}},
		Warnings: []string{"logs/vpc-2026-11-22.log.gz: ended early at record 812; what came before was kept."},
	}
	return r
}

func fixtureRules() []analyze.RuleUse {
	rule := func(n int, title, filter, id, name string, d flow.Direction, p analyze.Point, peer, purpose, chosenBy string) analyze.RuleUse {
		return analyze.RuleUse{Number: n, Title: title, Filter: filter, FilterID: id, Name: name, Direction: d, Point: p, Peer: peer, Purpose: purpose, ChosenBy: chosenBy, StoppedBy: []string{}, Proposal: []string{}}
	}
	ports := func(u analyze.RuleUse, entry, allowed, used, attempted string, passed int, verdict, proposal, why string) analyze.RuleUse {
		u.RulesKnown, u.Entries, u.Allowed, u.Used, u.Attempted = true, []string{entry}, []string{allowed}, []string{used}, []string{attempted}
		u.Passed, u.Verdict, u.Why = passed, verdict, why
		if proposal != "" {
			u.Proposal = []string{proposal}
		}
		return u
	}
	fixed := "The control port is fixed."
	os := "The client's OS picks 32768-60999, and all ports fit."
	rules := []analyze.RuleUse{
		ports(rule(1, "security group outbound: control", "sg", sgID, "ftp-clients", flow.Egress, analyze.P1, "FTP servers", "control", "fixed"), "tcp 21 to 203.0.113.0/24 ("+sgID+")", "21", "21", "21", 3, "keep", "", fixed),
		ports(rule(2, "security group outbound: data", "sg", sgID, "ftp-clients", flow.Egress, analyze.P1, "FTP servers", "data", "server"), "tcp 1024-65535 to 203.0.113.0/24 ("+sgID+")", "1024-65535", "50003-50098", "50003-50098", 12, "narrow", "50000-50100", "The server picks from its passive range."),
		ports(rule(3, "private NACL outbound: control", "nacl", privateACL, "private", flow.Egress, analyze.P1, "FTP servers", "control", "fixed"), "rule 100 allow tcp 21 to 0.0.0.0/0", "21", "21", "21", 3, "keep", "", fixed),
		ports(rule(4, "private NACL outbound: data", "nacl", privateACL, "private", flow.Egress, analyze.P1, "FTP servers", "data", "server"), "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", "1024-65535", "50003-50098", "50003-50098", 12, "narrow", "50000-50100", "The server picks from its passive range."),
		ports(rule(5, "public NACL inbound: client control", "nacl", publicACL, "public", flow.Ingress, analyze.P2, "clients", "control", "fixed"), "rule 100 allow tcp 21 from 10.0.0.0/16", "21", "21", "21", 3, "keep", "", fixed),
		ports(rule(6, "public NACL inbound: client data", "nacl", publicACL, "public", flow.Ingress, analyze.P2, "clients", "data", "server"), "rule 110 allow tcp 1024-65535 from 10.0.0.0/16", "1024-65535", "50003-50098", "50003-50098", 12, "narrow", "50000-50100", "The server picks from its passive range."),
		ports(rule(7, "public NACL outbound: server control", "nacl", publicACL, "public", flow.Egress, analyze.P3, "FTP servers", "control", "fixed"), "rule 100 allow tcp 21 to 0.0.0.0/0", "21", "21", "21", 3, "keep", "", fixed),
		ports(rule(8, "public NACL outbound: server data", "nacl", publicACL, "public", flow.Egress, analyze.P3, "FTP servers", "data", "server"), "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", "1024-65535", "50003-50098", "50003-50098", 12, "narrow", "50000-50100", "The server picks from its passive range."),
		ports(rule(9, "public NACL inbound: server replies", "nacl", publicACL, "public", flow.Ingress, analyze.P4, "FTP servers", "reply", "nat-gateway"), "rule 120 allow tcp 32768-65535 from 0.0.0.0/0", "32768-65535", "33190-64801", "2048-64801", 10, "fix", "1024-65535", "The NAT gateway picks 1024-65535 whatever was observed; it cannot be narrowed."),
		ports(rule(10, "public NACL outbound: replies to the client", "nacl", publicACL, "public", flow.Egress, analyze.P5, "clients", "reply", "client-os"), "rule 120 allow tcp 1024-65535 to 10.0.0.0/16", "1024-65535", "33012-60544", "33012-60544", 10, "narrow", "32768-60999", os),
		ports(rule(11, "private NACL inbound: replies", "nacl", privateACL, "private", flow.Ingress, analyze.P6, "FTP servers", "reply", "client-os"), "rule 100 allow tcp 1024-65535 from 0.0.0.0/0", "1024-65535", "33012-60544", "33012-60544", 10, "narrow", "32768-60999", os),
	}
	rules[8].Stopped = 5
	rules[8].StoppedBy = []string{publicACL + " rule *"}
	dataFits := []string{"a configured range 50000-50100=0.94", "Windows, macOS 49152-65535=0.06"}
	dataCurve := []string{"1=96", "2=68", "3=41", "4=30", "6=20", "12=12"}
	osFits := []string{"Linux 32768-60999=0.97", "NAT gateway 1024-65535=0.03"}
	osCurve := []string{"1=27533", "2=19870", "3=13004", "5=6120", "10=10"}
	for i := range rules {
		u := &rules[i]
		u.Fits, u.Curve, u.Proposed = []string{}, []string{"1=1"}, []string{strings.TrimSuffix(u.Entries[0], " ("+sgID+")")}
		switch u.ChosenBy {
		case analyze.ChosenServer:
			u.Fits, u.Curve, u.Backtest = dataFits, dataCurve, &analyze.Backtest{Tested: 6, High: 0.459, Outside: 0.206}
			u.Others = []string{"8443"}
		case analyze.ChosenClient:
			u.Fits, u.Curve, u.Backtest = osFits, osCurve, &analyze.Backtest{Lost: 1, Tested: 7, Low: 0.004, High: 0.579, Outside: 0.034}
		case analyze.ChosenNAT:
			u.Curve = []string{"1=31612", "2=24011", "10=10"}
		}
	}
	for number, proposed := range map[int][]string{
		2:  {"tcp 50000-50100 to 203.0.113.10/32"},
		4:  {"rule 110 allow tcp 8443 to 0.0.0.0/0", "rule 111 allow tcp 50000-50100 to 203.0.113.10/32"},
		8:  {"rule 110 allow tcp 50000-50100 to 203.0.113.10/32"},
		9:  {"rule 120 allow tcp 1024-65535 from 0.0.0.0/0"},
		10: {"rule 120 allow tcp 32768-60999 to 10.0.2.0/24"},
		11: {"rule 100 allow tcp 32768-60999 from 0.0.0.0/0"},
	} {
		rules[number-1].Proposed = proposed
	}
	return rules
}

// fixtureChanges are what becomes of the entries: in the public network ACL's
// inbound rules nothing is narrowed, since an interface that is not in the log
// uses them, too.
func fixtureChanges() []analyze.RuleChange {
	change := func(filter, id string, d flow.Direction, number int, cidr, from, to, kind, replaces string, n int, note string, slots ...string) analyze.RuleChange {
		return analyze.RuleChange{
			Filter: filter, FilterID: id, Direction: d, RuleNumber: number, Action: "allow", Protocol: "tcp", CIDR: cidr, FromPort: from, ToPort: to,
			Change: kind, Replaces: replaces, Slot: slots, Connections: n, Note: note,
		}
	}
	slot := func(id, d, peer, purpose string) string { return id + "/" + d + "/" + peer + "/" + purpose }
	data, reply := slot(privateACL, "egress", serverPrefix, "data"), slot(publicACL, "ingress", serverPrefix, "reply")
	const server, os = " (a configured range with 94 %; next outside at most 20.6 %; back-test lost 0 of 6)", " (Linux with 97 %; next outside at most 3.4 %; back-test lost 1 of 7)"
	keep := func(filter, id string, d flow.Direction, number int, cidr, from, to string) analyze.RuleChange {
		return change(filter, id, d, number, cidr, from, to, "keep", "", 0, "")
	}
	deny := keep("nacl", publicACL, flow.Ingress, 90, "0.0.0.0/0", "23", "23")
	deny.Action = "deny"
	all := keep("sg", sgID, flow.Egress, 0, "10.0.0.2/32", "", "")
	all.Protocol = "all"
	return []analyze.RuleChange{
		keep("nacl", privateACL, flow.Ingress, 90, "10.0.0.0/16", "22", "22"),
		change("nacl", privateACL, flow.Ingress, 100, "0.0.0.0/0", "32768", "60999", "replace", "rule 100 allow tcp 1024-65535 from 0.0.0.0/0", 10, slot(privateACL, "ingress", serverPrefix, "reply")+os, slot(privateACL, "ingress", serverPrefix, "reply")),
		keep("nacl", privateACL, flow.Egress, 100, "0.0.0.0/0", "21", "21"),
		change("nacl", privateACL, flow.Egress, 110, "0.0.0.0/0", "8443", "8443", "replace", "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", 6, slot(privateACL, "egress", "198.51.100.7/32", "other"), slot(privateACL, "egress", "198.51.100.7/32", "other")),
		change("nacl", privateACL, flow.Egress, 111, serverPrefix, "50000", "50100", "add", "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", 12, data+server, data),
		deny,
		keep("nacl", publicACL, flow.Ingress, 100, "10.0.0.0/16", "21", "21"),
		keep("nacl", publicACL, flow.Ingress, 110, "10.0.0.0/16", "1024", "65535"),
		change("nacl", publicACL, flow.Ingress, 120, "0.0.0.0/0", "1024", "65535", "replace", "rule 120 allow tcp 32768-65535 from 0.0.0.0/0", 15, reply, reply),
		keep("nacl", publicACL, flow.Egress, 100, "0.0.0.0/0", "21", "21"),
		change("nacl", publicACL, flow.Egress, 110, serverPrefix, "50000", "50100", "replace", "rule 110 allow tcp 1024-65535 to 0.0.0.0/0", 12, slot(publicACL, "egress", serverPrefix, "data")+server, slot(publicACL, "egress", serverPrefix, "data")),
		change("nacl", publicACL, flow.Egress, 120, "10.0.2.0/24", "32768", "60999", "replace", "rule 120 allow tcp 1024-65535 to 10.0.0.0/16", 10, slot(publicACL, "egress", "10.0.2.15/32", "reply")+os, slot(publicACL, "egress", "10.0.2.15/32", "reply")),
		keep("sg", sgID, flow.Egress, 0, "203.0.113.0/24", "21", "21"),
		all,
		change("sg", sgID, flow.Egress, 0, serverPrefix, "50000", "50100", "add", "tcp 1024-65535 to 203.0.113.0/24", 12, slot(sgID, "egress", serverPrefix, "data")+server, slot(sgID, "egress", serverPrefix, "data")),
		change("sg", sgID, flow.Egress, 0, "203.0.113.0/24", "1024", "65535", "remove", "", 0, "narrowed: tcp 50000-50100 to 203.0.113.10/32 takes its place"),
	}
}

func fixtureProposal() *analyze.Proposal {
	return &analyze.Proposal{
		Kept: []analyze.KeptRule{{FilterID: publicACL, Direction: flow.Ingress, Rule: "rule 110 allow tcp 1024-65535 from 10.0.0.0/16", Why: "eni-0dead000000000003 in " + publicNet + " is not in the log, so what it needs is not known"}},
		Summary: []string{
			privateACL + " ingress, rule 100 allow tcp 1024-65535 from 0.0.0.0/0: 64,512 ports from anywhere become 28,232 ports from anywhere.",
			privateACL + " egress, rule 110 allow tcp 1024-65535 to 0.0.0.0/0: 64,512 ports to anywhere become 1 port to anywhere and 101 ports to 203.0.113.10.",
			publicACL + " ingress, rule 120 allow tcp 32768-65535 from 0.0.0.0/0: 32,768 ports from anywhere become 64,512 ports from anywhere.",
			publicACL + " egress, rule 110 allow tcp 1024-65535 to 0.0.0.0/0: 64,512 ports to anywhere become 101 ports to 203.0.113.10.",
			publicACL + " egress, rule 120 allow tcp 1024-65535 to 10.0.0.0/16: 64,512 ports to 10.0.0.0/16 become 28,232 ports to 10.0.2.0/24.",
			sgID + " egress, tcp 1024-65535 to 203.0.113.0/24: 64,512 ports to 203.0.113.0/24 become 101 ports to 203.0.113.10.",
		},
		Needed: 87,
		Opened: []string{publicACL + " ingress: tcp 1024-32767 peers 0.0.0.0/0"},
		Closed: []string{
			privateACL + " ingress: tcp 1024-32767;61000-65535 peers 0.0.0.0/0",
			privateACL + " egress: tcp 1024-8442;8444-49999;50101-65535 peers 203.0.113.10",
			publicACL + " egress: tcp 1024-49999;50101-65535 peers 203.0.113.10",
			sgID + " egress: tcp 1024-49999;50101-65535 peers 203.0.113.10",
		},
	}
}

func fixtureReplay() *analyze.Replay {
	changed := func(d analyze.DataConnection) analyze.ChangedFlow {
		return analyze.ChangedFlow{
			Protocol: "tcp", ClientAddr: d.ClientAddr, ClientPort: d.ClientPort, ServerAddr: d.ServerAddr, ServerPort: d.ServerPort, Start: d.Start,
			FTP: "data", SessionID: d.SessionID, Before: analyze.FateStops, After: analyze.FatePasses, Point: analyze.P4, Rule: publicACL + " * deny all",
		}
	}
	var rows []analyze.ChangedFlow
	for _, d := range fixtureData() {
		if d.Outcome == analyze.OutcomeBlocked {
			rows = append(rows, changed(d))
		}
	}
	rows = append(rows, analyze.ChangedFlow{
		Protocol: "tcp", ClientAddr: addr("10.0.2.15"), ClientPort: 41999, ServerAddr: addr("203.0.113.50"), ServerPort: 4444, Start: at("11:20:00"),
		Before: analyze.FatePasses, After: analyze.FateStops, Point: analyze.P1, Rule: sgID, Unwanted: true,
	})
	return &analyze.Replay{
		Passing: analyze.ReplayCount{All: 64, FTP: 10}, Repaired: analyze.ReplayCount{All: 5, FTP: 5},
		Stopped: analyze.ReplayCount{All: 1}, Unwanted: analyze.ReplayCount{All: 1},
		Changed: analyze.RowsOf(rows...),
	}
}

func fixtureSession(n int, start, end string, port, natPort uint16, data int, outcome analyze.Outcome) analyze.Session {
	return analyze.Session{
		ID: fmt.Sprintf("s%d", n), ClientAddr: addr("10.0.2.15"), ClientPort: port,
		ServerAddr: addr("203.0.113.10"), ServerPort: 21, ClientInterface: clientENI,
		NATAddr: addr("10.0.1.20"), NATPort: natPort, NATInterface: natENI,
		Start: at(start), End: at(end), Mode: "passive", TLS: "unknown", DataConnections: data, DataLow: data, DataHigh: data,
		BytesToServer: 1840, BytesToClient: 2912, Outcome: outcome, Confidence: 1,
	}
}

func fixtureSessions() []analyze.Session {
	s := []analyze.Session{
		fixtureSession(1, "10:02:11", "10:09:40", 40122, 50210, 5, analyze.OutcomeBlocked),
		fixtureSession(2, "10:31:05", "10:44:58", 40518, 41877, 4, analyze.OutcomeOK),
		fixtureSession(3, "11:03:27", "11:16:02", 33012, 61020, 3, analyze.OutcomeIdleTimeout),
	}
	s[0].DiedAt, s[0].Cause = "P4", "data connections stopped by "+publicACL+" rule *"
	s[2].Cause, s[2].Confidence = "control connection silent for 431 s", 0.95
	s[1].DataHigh, s[2].DataConnections, s[2].DataLow = 5, 2, 1
	return s
}

func fixtureData() []analyze.DataConnection {
	var data []analyze.DataConnection
	for i := range 12 {
		d := analyze.DataConnection{
			ID: fmt.Sprintf("d%d", i+1), SessionID: fmt.Sprintf("s%d", 1+i/5), Candidates: []string{fmt.Sprintf("s%d", 1+i/5)}, Probabilities: []float64{0.9731}, Confidence: 0.9731, FTPProbability: 0.998,
			Mode: "passive", ClientAddr: addr("10.0.2.15"), ClientPort: uint16(40200 + 36*i),
			ServerAddr: addr("203.0.113.10"), ServerPort: uint16(50003 + 8*i),
			Start: at("10:03:00") + analyze.Time(400*i), End: at("10:03:06") + analyze.Time(405*i),
			PacketsToServer: 120, PacketsToClient: 2310, BytesToServer: 6_240, BytesToClient: 3_145_728,
			NATAddr: addr("10.0.1.20"), NATPort: uint16(33190 + 2634*i), Outcome: analyze.OutcomeOK,
		}
		if i%3 == 0 || i == 4 {
			d.NATPort, d.Outcome, d.DiedAt, d.Cause = uint16(2048+3188*i), analyze.OutcomeBlocked, "P4", publicACL+" rule *"
			d.PacketsToServer, d.PacketsToClient, d.BytesToServer, d.BytesToClient = 7, 0, 420, 0
		}
		data = append(data, d)
	}
	data[11].SessionID, data[11].Candidates = "", []string{"s2", "s3"}
	data[11].Probabilities, data[11].Confidence = []float64{0.6, 0.398}, 0.6
	return data
}

func fixtureMappings() []analyze.Mapping {
	mapping := func(clientPort, serverPort, natPort uint16, start, end analyze.Time) analyze.Mapping {
		return analyze.Mapping{
			Protocol: 6, ClientAddr: addr("10.0.2.15"), ClientPort: clientPort, ServerAddr: addr("203.0.113.10"), ServerPort: serverPort,
			ClientInterface: clientENI, NATInterface: natENI, NATAddr: addr("10.0.1.20"), NATPort: natPort,
			Start: start, End: end, Confidence: 1, Candidates: []string{},
		}
	}
	var all []analyze.Mapping
	for _, s := range fixtureSessions() {
		all = append(all, mapping(s.ClientPort, s.ServerPort, s.NATPort, s.Start, s.End))
	}
	for _, d := range fixtureData() {
		all = append(all, mapping(d.ClientPort, d.ServerPort, d.NATPort, d.Start, d.End))
	}
	all[7].Confidence, all[7].Candidates = 0.5, []string{"10.0.1.20:51002"}
	return all
}

func fixtureRejects() []analyze.RejectedFlow {
	var rejects []analyze.RejectedFlow
	for _, d := range fixtureData() {
		if d.Outcome != analyze.OutcomeBlocked {
			continue
		}
		rejects = append(rejects, analyze.RejectedFlow{
			InterfaceID: natENI, SubnetID: publicNet, Direction: flow.Ingress, Point: analyze.P4,
			SrcAddr: d.ServerAddr, DstAddr: d.NATAddr, SrcPort: d.ServerPort, DstPort: d.NATPort,
			PktSrcAddr: d.ServerAddr, PktDstAddr: d.NATAddr, Protocol: 6, Packets: 6, Bytes: 360, Records: 2,
			Start: d.Start, End: d.End, Cause: analyze.CauseNACL, CauseID: publicACL, RuleNumber: 32767, RuleDefault: true,
			AlsoDeniedBy: []string{}, SessionID: d.SessionID, Confidence: 1,
			Evidence: "The interface belongs to a NAT gateway, which has no security group; no entry before the default allows the port.",
		})
	}
	rejects = append(rejects,
		analyze.RejectedFlow{
			InterfaceID: clientENI, SubnetID: privateNet, Direction: flow.Ingress, Point: analyze.P6,
			SrcAddr: addr("203.0.113.10"), DstAddr: addr("10.0.2.15"), SrcPort: 21, DstPort: 33012, Protocol: 6, Packets: 2, Bytes: 80, Records: 1,
			Start: at("11:16:04"), End: at("11:16:20"), Cause: analyze.CauseLate, AlsoDeniedBy: []string{}, SessionID: "s3", Confidence: 0.9,
			Evidence: "Came after the RST that closed the connection.",
		},
		analyze.RejectedFlow{
			InterfaceID: natENI, SubnetID: publicNet, Direction: flow.Ingress, Point: analyze.P4,
			SrcAddr: addr("198.51.100.77"), DstAddr: addr("10.0.1.20"), SrcPort: 51812, DstPort: 23, Protocol: 6, Packets: 1, Bytes: 40, Records: 1,
			Start: at("10:40:00"), End: at("10:40:00"), Cause: analyze.CauseNACL, CauseID: publicACL, RuleNumber: 90,
			AlsoDeniedBy: []string{publicACL + " rule *"}, Confidence: 1, Evidence: "Entry 90 denies tcp 23 from 0.0.0.0/0.",
		})
	return rejects
}

func fixturePorts() []analyze.PortDemand {
	slot := func(id string, d flow.Direction, peer, purpose, chosenBy string, n, distinct int, from, to uint16, allowed string, unused int, safe string) analyze.PortDemand {
		used := fmt.Sprintf("%d-%d", from, to)
		if from == to {
			used = fmt.Sprint(from)
		}
		p := analyze.PortDemand{
			Slot: fmt.Sprintf("%s/%s/%s/%s", id, d, peer, purpose), Filter: "nacl", FilterID: id, Direction: d, Peer: peer, Protocol: "tcp",
			Purpose: purpose, PortChosenBy: chosenBy, Connections: n, DistinctPorts: distinct, Min: from, Max: to,
			Ranges: []string{used}, AllowedNow: []string{allowed}, UnusedNow: unused, Observed: []string{used}, Safe: []string{safe},
			AttemptedRanges: []string{used},
		}
		if chosenBy != "fixed" {
			p.ObservedOutside, p.Fits, p.Curve = ptr(0.4113), []string{"Linux 32768-60999=0.97"}, []string{"1=" + fmt.Sprint(int(to)-int(from)+1), fmt.Sprintf("%d=%[1]d", distinct)}
			p.OutsideProbability, p.BacktestLost, p.BacktestTotal = ptr(0.2592), ptr(0), ptr(n/2)
		}
		return p
	}
	ports := []analyze.PortDemand{
		slot(privateACL, flow.Egress, serverPrefix, "control", "fixed", 3, 1, 21, 21, "21", 0, "21"),
		slot(privateACL, flow.Egress, serverPrefix, "data", "server", 12, 12, 50003, 50091, "1024-65535", 64500, "50000-50100"),
		slot(publicACL, flow.Ingress, serverPrefix, "reply", "nat-gateway", 10, 10, 33190, 64801, "32768-65535", 32758, "1024-65535"),
		slot(publicACL, flow.Ingress, "0.0.0.0/0", "other", "nat-gateway", 412, 398, 1033, 65520, "32768-65535", -1, "1024-65535"),
	}
	ports[2].KeepReason = "The NAT gateway picks from 1024-65535; what was not seen yet is still needed."
	ports[2].AttemptedRanges = []string{"2048-30744", "33190-64801"}
	return ports
}

// hostile is a text that tries to leave every format that it is put into.
const hostile = "=cmd()|' /C calc'!A0\"</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028-->{{.}}"
