package analyze

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// The scenario tests say what happened on the wire in one-line strings, have
// the flow log records of every interface made from that, and compare what
// the analysis concludes, also in one-line strings.
//
// The network is always this one, unless a test edits it:
//
//	10.0.1.5, 10.0.1.6  clients in subnet-private (acl-private, sg-client)
//	10.0.0.220          the NAT gateway nat-1 (eni-nat) in subnet-public (acl-public)
//	203.0.113.x         FTP servers on the internet
//
// Times in scenarios are seconds after scenarioStart.
const scenarioStart = 1795370400 // 2026-11-22T18:00:00Z

// A logFormat says how records of a flow log are made.
type logFormat struct {
	name   string
	rich   bool  // pkt-* addresses, TCP flags, direction and instance
	window int64 // aggregation interval in seconds
	phase  int64 // seconds by which its boundaries are shifted
	log    string
}

var (
	rich    = logFormat{name: "rich", rich: true, window: 60, log: "fl-1"}
	plain   = logFormat{name: "default", window: 60, log: "fl-1"}
	formats = []logFormat{rich, plain}
)

// inFormats runs a test once for each format.
func inFormats(t *testing.T, test func(t *testing.T, f logFormat)) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// An endpoint of a scenario.
type place struct {
	addr flow.Addr
	port uint16
}

func (p place) String() string { return flow.HostPort(p.addr, p.port) }

func parsePlace(s string) place {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return place{flow.AddrFrom(ap.Addr()), ap.Port()}
	}
	return place{addr: mustAddr(s)}
}

func mustAddr(s string) flow.Addr {
	a, err := flow.ParseAddr(s)
	if err != nil {
		panic("scenario: " + err.Error())
	}
	return a
}

// A call is one connection as it was on the wire.
type call struct {
	client, nat, server place
	proto               flow.Proto
	up, down            load
	busy                [][2]int64 // when packets flew
	dies                string     // the point that rejects it
	lost                string     // the first point that it does not reach
	without             string     // points whose records are missing
	rst                 bool       // the server answers with RST
	begun, open         bool       // before the log began; when it ended
}

type load struct{ packets, bytes uint64 }

// parseCall reads one connection:
//
//	10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130 dies P4
//
// The NAT gateway's place may be missing. Loads are those to the server and
// back; the times are those of the first and the last packet, or, separated
// by commas, of several bursts. Words at the end: "dies P4" (rejected
// there), "lost P4" (not seen there nor behind), "without P2,P5" (records
// missing), "rst", "begun", "open", "udp", "icmp".
func parseCall(line string) call {
	w := strings.Fields(strings.ReplaceAll(line, " > ", ">"))
	ends := strings.Split(w[0], ">")
	c := call{proto: flow.TCP, client: parsePlace(ends[0]), server: parsePlace(ends[len(ends)-1])}
	if len(ends) == 3 {
		c.nat = parsePlace(ends[1])
	}
	c.up, c.down = parseLoad(w[1]), parseLoad(w[2])
	for part := range strings.SplitSeq(w[3], ",") {
		from, to := parseSpan(part)
		c.busy = append(c.busy, [2]int64{from, to})
	}
	for k := 4; k < len(w); k++ {
		switch w[k] {
		case "rst":
			c.rst = true
		case "begun":
			c.begun = true
		case "open":
			c.open = true
		case "udp":
			c.proto = flow.UDP
		case "icmp":
			c.proto = flow.ICMP
		case "dies":
			k++
			c.dies = w[k]
		case "lost":
			k++
			c.lost = w[k]
		case "without":
			k++
			c.without = w[k]
		default:
			panic("scenario: unknown word " + w[k])
		}
	}
	return c
}

func parseLoad(s string) load {
	p, b, _ := strings.Cut(s, "/")
	return load{number(strings.TrimSuffix(p, "p")), number(strings.TrimSuffix(b, "b"))}
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic("scenario: " + err.Error())
	}
	return n
}

func parseSpan(s string) (from, to int64) {
	a, b, ok := strings.Cut(s, "..")
	if !ok {
		b = a
	}
	return scenarioStart + int64(number(a)), scenarioStart + int64(number(b))
}

// A view is what one interface sees of one way of a call.
type view struct {
	point           string
	iface, resource string
	instance        string
	direction       flow.Direction
	up              bool
	src, dst        place // as the interface reports them
	pktSrc, pktDst  flow.Addr
	phase           int64 // of the aggregation interval
}

// gateways are the NAT gateways' interfaces by address. A gateway shows its
// primary address for its others.
var gateways = map[string]struct{ iface, resource, primary string }{
	"10.0.0.220": {iface: "eni-nat", primary: "10.0.0.220"},
	"10.0.0.221": {iface: "eni-nat", primary: "10.0.0.220"},
	"10.0.0.230": {iface: "eni-nat2", primary: "10.0.0.230"},
	"10.0.1.220": {iface: "eni-nat-private", primary: "10.0.1.220"},
	"10.0.9.9":   {resource: "nat-0regional", primary: "10.0.9.9"},
}

// inVPC tells whose addresses have a logged interface.
func inVPC(a flow.Addr) bool {
	return strings.HasPrefix(a.String(), "10.0.") || strings.HasPrefix(a.String(), "2600:")
}

// views returns the points of the call's way that the log can see.
func (c call) views() []view {
	at := func(p string, own place, phase int64, d flow.Direction, up bool, src, dst place) view {
		return view{point: p, iface: "eni-" + own.addr.String(), instance: "i-" + own.addr.String(), phase: phase,
			direction: d, up: up, src: src, dst: dst, pktSrc: src.addr, pktDst: dst.addr}
	}
	outside := c.client
	if c.nat.addr.IsValid() {
		outside = c.nat
	}
	var vs []view
	if inVPC(c.client.addr) {
		vs = append(vs, at("P1", c.client, 11, flow.Egress, true, c.client, c.server))
	}
	if c.nat.addr.IsValid() {
		vs = append(vs, c.atNAT("P2", flow.Ingress, true, c.client, c.server), c.atNAT("P3", flow.Egress, true, outside, c.server))
	}
	if inVPC(c.server.addr) && gateways[c.server.addr.String()].primary == "" {
		vs = append(vs, at("S1", c.server, 53, flow.Ingress, true, outside, c.server), at("S2", c.server, 53, flow.Egress, false, c.server, outside))
	}
	if c.nat.addr.IsValid() {
		vs = append(vs, c.atNAT("P4", flow.Ingress, false, c.server, outside), c.atNAT("P5", flow.Egress, false, c.server, c.client))
	}
	if inVPC(c.client.addr) {
		vs = append(vs, at("P6", c.client, 11, flow.Ingress, false, c.server, c.client))
	}
	return vs
}

// atNAT is a view at the NAT gateway of a packet from src to dst, which its
// interface reports with its own primary address on its own side.
func (c call) atNAT(point string, d flow.Direction, up bool, src, dst place) view {
	g := gateways[c.nat.addr.String()]
	v := view{point: point, iface: g.iface, resource: g.resource, direction: d, up: up, phase: 37,
		src: src, dst: dst, pktSrc: src.addr, pktDst: dst.addr}
	if d == flow.Ingress {
		v.dst.addr = mustAddr(g.primary)
	} else {
		v.src.addr = mustAddr(g.primary)
	}
	return v
}

// records makes the flow log records of the call in the given format.
func (c call) records(f logFormat) []flow.Record {
	var rs []flow.Record
	for _, v := range c.views() {
		if v.point == c.lost {
			break
		}
		rejected := v.point == c.dies
		if !strings.Contains(c.without, v.point) {
			rs = append(rs, c.seen(v, f, rejected)...)
		}
		if rejected {
			break
		}
	}
	return rs
}

// seen makes the records of one view: packet by packet into windows.
func (c call) seen(v view, f logFormat, rejected bool) []flow.Record {
	l := c.down
	if v.up {
		l = c.up
	}
	var rs []flow.Record
	cell := int64(-1)
	for k := range l.packets {
		at := c.timeOf(k, l.packets)
		if n := (at + v.phase + f.phase) / f.window; n != cell {
			cell = n
			rs = append(rs, v.record(f, c.proto, rejected, at))
		}
		r := &rs[len(rs)-1]
		r.Packets++
		r.Bytes += l.bytes*(k+1)/l.packets - l.bytes*k/l.packets
		r.End = at
		if r.Has.Has(flow.FieldTCPFlags) {
			r.TCPFlags |= c.flags(v.up, k == 0, k == l.packets-1)
		}
	}
	return rs
}

// timeOf spreads n packets over the bursts.
func (c call) timeOf(k, n uint64) int64 {
	total := int64(0)
	for _, b := range c.busy {
		total += b[1] - b[0]
	}
	if n == 1 {
		return c.busy[0][0]
	}
	rest := total * int64(k) / int64(n-1)
	for i, b := range c.busy {
		if rest < b[1]-b[0] || rest == b[1]-b[0] && (k == n-1 || i == len(c.busy)-1) {
			return b[0] + rest
		}
		rest -= b[1] - b[0]
	}
	return c.busy[len(c.busy)-1][1]
}

// flags are those of one packet.
func (c call) flags(up, first, last bool) (f flow.TCPFlags) {
	stopped := c.dies != "" || c.lost != ""
	switch {
	case c.proto != flow.TCP:
		return 0
	case c.rst && !up:
		return flow.RST
	case !c.begun && (first || stopped || c.rst):
		f |= flow.SYN
		if !up {
			f |= flow.ACK
		}
	}
	if last && !c.open && !stopped && !c.rst {
		f |= flow.FIN
	}
	return f
}

func (v view) record(f logFormat, proto flow.Proto, rejected bool, at int64) flow.Record {
	r := flow.Record{
		Has: WantFields, InterfaceID: v.iface, FlowLogID: f.log, Src: v.src.addr, Dst: v.dst.addr, SrcPort: v.src.port, DstPort: v.dst.port,
		Proto: proto, Start: at, End: at, Action: flow.Accept,
	}
	if rejected {
		r.Action = flow.Reject
	}
	if f.rich {
		r.ResourceID, r.InstanceID, r.VPCID = v.resource, v.instance, "vpc-1"
		r.PktSrc, r.PktDst, r.Direction = v.pktSrc, v.pktDst, v.direction
	} else {
		r.Has &^= flow.Fields(flow.FieldTCPFlags, flow.FieldPktSrcAddr, flow.FieldPktDstAddr, flow.FieldFlowDirection, flow.FieldResourceID, flow.FieldInstanceID, flow.FieldVPCID, flow.FieldSubnetID)
	}
	return r
}

// calls makes the records of several calls.
func calls(f logFormat, lines ...string) []flow.Record {
	var rs []flow.Record
	for _, l := range lines {
		rs = append(rs, parseCall(l).records(f)...)
	}
	return rs
}

// record reads one flow log record:
//
//	eni-nat ingress 198.51.100.9:5555 > 10.0.0.220:40000 3p/180b 100..101 ACCEPT SYN pkt 198.51.100.9 > 10.0.0.221
//
// The direction "-" stands for a log without that field. Without flags the
// log has none; "0" are no flags in a log that has the field. Further words:
// "reason BPA", "log fl-2", "udp". "eni-nat NODATA 0..60" has no traffic.
func record(line string) flow.Record {
	w := strings.Fields(strings.ReplaceAll(line, " > ", ">"))
	r := flow.Record{Has: WantFields &^ flow.Fields(flow.FieldTCPFlags), InterfaceID: w[0], FlowLogID: "fl-1", Proto: flow.TCP}
	switch w[1] {
	case "NODATA", "SKIPDATA":
		r.Status = map[string]flow.LogStatus{"NODATA": flow.NoData, "SKIPDATA": flow.SkipData}[w[1]]
		r.Start, r.End = parseSpan(w[2])
		return r
	case "ingress":
		r.Direction = flow.Ingress
	case "egress":
		r.Direction = flow.Egress
	}
	src, dst, _ := strings.Cut(w[2], ">")
	r.Src, r.SrcPort, r.Dst, r.DstPort = parsePlace(src).addr, parsePlace(src).port, parsePlace(dst).addr, parsePlace(dst).port
	l := parseLoad(w[3])
	r.Packets, r.Bytes = l.packets, l.bytes
	r.Start, r.End = parseSpan(w[4])
	r.Action = map[string]flow.Action{"ACCEPT": flow.Accept, "REJECT": flow.Reject}[w[5]]
	for k := 6; k < len(w); k++ {
		switch w[k] {
		case "pkt":
			k++
			src, dst, _ := strings.Cut(w[k], ">")
			r.PktSrc, r.PktDst = mustAddr(src), mustAddr(dst)
		case "reason":
			k++
			r.RejectReason = w[k]
		case "log":
			k++
			r.FlowLogID = w[k]
		case "udp":
			r.Proto = flow.UDP
		default:
			r.Has |= flow.Fields(flow.FieldTCPFlags)
			r.TCPFlags |= parseFlags(w[k])
		}
	}
	return r
}

// in gives a record's line the form that a format has: in the default one
// without direction and flags, in the rich one with header addresses.
func in(f logFormat, line string) string {
	w := strings.Fields(strings.ReplaceAll(line, " > ", ">"))
	if f.rich {
		return line + " pkt " + regexp.MustCompile(`:\d+`).ReplaceAllString(w[2], "")
	}
	w[1] = "-"
	return strings.Join(w[:6], " ")
}

func parseFlags(s string) (f flow.TCPFlags) {
	for name := range strings.SplitSeq(s, ",") {
		bit, ok := map[string]flow.TCPFlags{"0": 0, "FIN": flow.FIN, "SYN": flow.SYN, "RST": flow.RST, "ACK": flow.ACK}[name]
		if !ok {
			panic("scenario: unknown word " + name)
		}
		f |= bit
	}
	return f
}

// records reads several records.
func records(lines ...string) []flow.Record {
	var rs []flow.Record
	for _, l := range lines {
		rs = append(rs, record(l))
	}
	return rs
}

// stream hands records out as a source does: one record, valid for a step.
func stream(rs []flow.Record) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		var r flow.Record
		for i := range rs {
			r = rs[i]
			if !yield(&r, nil) {
				return
			}
		}
	}
}

// analysed runs the analysis.
func analysed(t *testing.T, rs []flow.Record, o Options) *Result {
	t.Helper()
	r, err := Run(stream(rs), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// The base network.
var baseNetwork = []string{
	"subnet subnet-private 10.0.1.0/24 acl-private",
	"subnet subnet-public 10.0.0.0/24 acl-public",
	"eni eni-10.0.1.5 10.0.1.5 subnet-private sg-client",
	"eni eni-10.0.1.6 10.0.1.6 subnet-private sg-client",
	"nat nat-1 eni-nat 10.0.0.220 subnet-public",
	"route subnet-private 0.0.0.0/0 nat-1",
	"route subnet-public 0.0.0.0/0 igw-1",
	"acl-private in 100 allow all 0.0.0.0/0", "acl-private out 100 allow all 0.0.0.0/0",
	"acl-public in 100 allow all 0.0.0.0/0", "acl-public out 100 allow all 0.0.0.0/0",
	"sg-client out all 0.0.0.0/0",
}

type object = map[string]any

// A netConfig is a network on its way to the AWS CLI's JSON.
type netConfig struct {
	subnets, enis, nats, tables map[string]object
	acls                        map[string][]object
	aclOf                       map[string]string
	in, out                     map[string][]object // of security groups
}

// edit reads one line of a network:
//
//	subnet ID CIDR[,CIDR] ACL
//	eni ID ADDR[,ADDR] SUBNET GROUP
//	nat ID ENI ADDR[,ADDR] SUBNET         ("-" "-" "-" for a regional one)
//	route SUBNET CIDR TARGET
//	acl-ID in|out NUMBER allow|deny PROTO [PORTS] CIDR
//	acl-ID in|out drop NUMBER
//	sg-ID in|out PROTO [PORTS] CIDR
//	sg-ID in|out none
func (n *netConfig) edit(line string) {
	w := strings.Fields(line)
	switch {
	case w[0] == "subnet":
		s := object{"SubnetId": w[1], "VpcId": "vpc-1"}
		for c := range strings.SplitSeq(w[2], ",") {
			if strings.Contains(c, ":") {
				s["Ipv6CidrBlockAssociationSet"] = []object{{"Ipv6CidrBlock": c, "Ipv6CidrBlockState": object{"State": "associated"}}}
			} else {
				s["CidrBlock"] = c
			}
		}
		n.subnets[w[1]], n.aclOf[w[1]] = s, w[3]
	case w[0] == "eni":
		n.enis[w[1]] = eniObject(w[1], w[2], w[3], "interface")
		n.enis[w[1]]["Groups"] = []object{{"GroupId": w[4]}}
		n.enis[w[1]]["Attachment"] = object{"InstanceId": "i-" + strings.TrimPrefix(w[1], "eni-")}
		n.in[w[4]], n.out[w[4]] = append([]object{}, n.in[w[4]]...), append([]object{}, n.out[w[4]]...)
	case w[0] == "nat" && w[2] == "-":
		n.nats[w[1]] = object{"NatGatewayId": w[1], "VpcId": "vpc-1", "State": "available", "ConnectivityType": "public", "AvailabilityMode": "regional"}
	case w[0] == "nat":
		g := object{"NatGatewayId": w[1], "VpcId": "vpc-1", "SubnetId": w[4], "State": "available", "ConnectivityType": "public"}
		var addrs []object
		for i, a := range strings.Split(w[3], ",") {
			addrs = append(addrs, object{"NetworkInterfaceId": w[2], "PrivateIp": a, "PublicIp": fmt.Sprintf("198.51.100.%d", 77+i), "IsPrimary": i == 0})
		}
		g["NatGatewayAddresses"] = addrs
		n.nats[w[1]], n.enis[w[2]] = g, eniObject(w[2], w[3], w[4], "nat_gateway")
	case w[0] == "route":
		t := n.tables[w[1]]
		if t == nil {
			t = object{"RouteTableId": "rtb-" + w[1], "VpcId": "vpc-1", "Associations": []object{{"SubnetId": w[1]}},
				"Routes": []object{{"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}}}
			n.tables[w[1]] = t
		}
		r := object{"DestinationCidrBlock": w[2]}
		if strings.Contains(w[2], ":") {
			r = object{"DestinationIpv6CidrBlock": w[2]}
		}
		key := map[string]string{"nat": "NatGatewayId", "igw": "GatewayId", "eigw": "EgressOnlyInternetGatewayId"}[strings.Split(w[3], "-")[0]]
		r[key] = w[3]
		kept := slices.DeleteFunc(t["Routes"].([]object), func(o object) bool { return o["DestinationCidrBlock"] == w[2] })
		t["Routes"] = append(kept, r)
	case strings.HasPrefix(w[0], "acl-"):
		n.editACL(w)
	case strings.HasPrefix(w[0], "sg-"):
		n.editGroup(w)
	default:
		panic("scenario: " + line)
	}
}

func eniObject(id, addrs, subnet, kind string) object {
	o := object{"NetworkInterfaceId": id, "VpcId": "vpc-1", "SubnetId": subnet, "InterfaceType": kind}
	var four, six []object
	for i, a := range strings.Split(addrs, ",") {
		if strings.Contains(a, ":") {
			six = append(six, object{"Ipv6Address": a})
			continue
		}
		if i == 0 {
			o["PrivateIpAddress"] = a
		}
		four = append(four, object{"PrivateIpAddress": a, "Primary": i == 0})
	}
	o["PrivateIpAddresses"], o["Ipv6Addresses"] = four, six
	return o
}

func (n *netConfig) editACL(w []string) {
	egress := w[1] == "out"
	number := w[2]
	if w[2] == "drop" {
		number = w[3]
	}
	n.acls[w[0]] = slices.DeleteFunc(n.acls[w[0]], func(o object) bool {
		return fmt.Sprint(o["RuleNumber"]) == number && o["Egress"] == egress && o["Ipv6CidrBlock"] == nil
	})
	if w[2] == "drop" {
		return
	}
	num, _ := strconv.Atoi(number)
	e := object{"RuleNumber": num, "RuleAction": w[3], "Egress": egress}
	protocol(e, "Protocol", w[4])
	if len(w) == 7 {
		from, to := portsOf(w[5])
		e["PortRange"] = object{"From": from, "To": to}
	}
	e[cidrKey(w[len(w)-1], "CidrBlock", "Ipv6CidrBlock")] = w[len(w)-1]
	n.acls[w[0]] = append(n.acls[w[0]], e)
}

func cidrKey(cidr, four, six string) string {
	if strings.Contains(cidr, ":") {
		return six
	}
	return four
}

func protocol(o object, key, name string) {
	o[key] = map[string]string{"all": "-1", "tcp": "6", "udp": "17", "icmp": "1"}[name]
}

func portsOf(s string) (from, to int) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	return int(number(a)), int(number(b))
}

func (n *netConfig) editGroup(w []string) {
	side := n.in
	if w[1] == "out" {
		side = n.out
	}
	if w[2] == "none" {
		side[w[0]] = nil
		return
	}
	p := object{}
	protocol(p, "IpProtocol", w[2])
	if len(w) == 5 {
		p["FromPort"], p["ToPort"] = portsOf(w[3])
	}
	cidr := w[len(w)-1]
	p[cidrKey(cidr, "IpRanges", "Ipv6Ranges")] = []object{{cidrKey(cidr, "CidrIp", "CidrIpv6"): cidr}}
	side[w[0]] = append(side[w[0]], p)
}

// files writes the network as the AWS CLI prints it.
func (n *netConfig) files(dir string, fsys fstest.MapFS) {
	write := func(name, key string, list []object) {
		data, err := json.Marshal(object{key: append([]object{}, list...)})
		if err != nil {
			panic(err)
		}
		fsys[dir+name+".json"] = &fstest.MapFile{Data: data}
	}
	values := func(m map[string]object) (list []object) {
		for _, k := range sortedKeys(m) {
			list = append(list, m[k])
		}
		return list
	}
	var acls, groups []object
	for _, id := range sortedKeys(n.acls) {
		var subnets []object
		for _, s := range sortedKeys(n.aclOf) {
			if n.aclOf[s] == id {
				subnets = append(subnets, object{"SubnetId": s})
			}
		}
		closing := []object{
			{"RuleNumber": 32767, "RuleAction": "deny", "Egress": false, "Protocol": "-1", "CidrBlock": "0.0.0.0/0"},
			{"RuleNumber": 32767, "RuleAction": "deny", "Egress": true, "Protocol": "-1", "CidrBlock": "0.0.0.0/0"},
			{"RuleNumber": 32768, "RuleAction": "deny", "Egress": false, "Protocol": "-1", "Ipv6CidrBlock": "::/0"},
			{"RuleNumber": 32768, "RuleAction": "deny", "Egress": true, "Protocol": "-1", "Ipv6CidrBlock": "::/0"},
		}
		acls = append(acls, object{"NetworkAclId": id, "VpcId": "vpc-1", "Associations": subnets, "Entries": append(closing, n.acls[id]...)})
	}
	for _, id := range sortedKeys(n.out) {
		groups = append(groups, object{"GroupId": id, "GroupName": id, "VpcId": "vpc-1", "IpPermissions": n.in[id], "IpPermissionsEgress": n.out[id]})
	}
	write("describe-network-acls", "NetworkAcls", acls)
	write("describe-security-groups", "SecurityGroups", groups)
	write("describe-network-interfaces", "NetworkInterfaces", values(n.enis))
	write("describe-subnets", "Subnets", values(n.subnets))
	write("describe-nat-gateways", "NatGateways", values(n.nats))
	write("describe-route-tables", "RouteTables", values(n.tables))
}

func newNetConfig(edits []string) *netConfig {
	n := &netConfig{subnets: map[string]object{}, enis: map[string]object{}, nats: map[string]object{}, tables: map[string]object{},
		acls: map[string][]object{}, aclOf: map[string]string{}, in: map[string][]object{}, out: map[string][]object{}}
	for _, line := range slices.Concat(baseNetwork, edits) {
		n.edit(line)
	}
	return n
}

// network is the base network with edits, as one snapshot.
func network(t testing.TB, edits ...string) *rules.History {
	t.Helper()
	fsys := fstest.MapFS{}
	newNetConfig(edits).files("", fsys)
	h, err := rules.ReadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// networks are snapshots over time, by seconds after scenarioStart.
func networks(t testing.TB, at map[int64][]string) *rules.History {
	t.Helper()
	fsys := fstest.MapFS{}
	for s, edits := range at {
		newNetConfig(edits).files(time.Unix(scenarioStart+s, 0).UTC().Format(time.RFC3339)+"/", fsys)
	}
	h, err := rules.ReadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// told writes the result in lines:
//
//	session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 ok
//	data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:20002 passive of 40000 blocked at P4
//	map 10.0.1.5:40000 = 10.0.0.220:20001
//	reject P4 nacl acl-public 90 3p
//
// A data connection that is given to no session is "of ? 40000 40002", with
// the candidates' client ports in order. A mapping that is not sure says so.
func told(r *Result) []string {
	var lines []string
	ports := map[string]uint16{}
	for s := range r.Sessions.All() {
		ports[s.ID] = s.ClientPort
		lines = append(lines, fmt.Sprintf("session %s > %s%s %s %d %s", flow.HostPort(s.ClientAddr, s.ClientPort), flow.HostPort(s.ServerAddr, s.ServerPort),
			natWords(s.NATAddr, s.NATPort), s.Mode, s.DataConnections, endWords(s.Outcome, s.DiedAt)))
	}
	for d := range r.Data.All() {
		of := fmt.Sprint(ports[d.SessionID])
		if d.SessionID == "" {
			of = "?"
			var cs []uint16
			for _, c := range d.Candidates {
				cs = append(cs, ports[c])
			}
			slices.Sort(cs)
			for _, c := range cs {
				of += fmt.Sprintf(" %d", c)
			}
		}
		lines = append(lines, fmt.Sprintf("data %s > %s%s %s of %s %s", flow.HostPort(d.ClientAddr, d.ClientPort), flow.HostPort(d.ServerAddr, d.ServerPort),
			natWords(d.NATAddr, d.NATPort), d.Mode, of, endWords(d.Outcome, d.DiedAt)))
	}
	for m := range r.Mappings.All() {
		line := fmt.Sprintf("map %s = %s", flow.HostPort(m.ClientAddr, m.ClientPort), flow.HostPort(m.NATAddr, m.NATPort))
		if m.Confidence < 0.9 {
			line += fmt.Sprintf(" unsure, or %s", strings.Join(m.Candidates, " "))
		}
		lines = append(lines, line)
	}
	for x := range r.Rejects.All() {
		words := []string{"reject", x.Point.String(), string(x.Cause), x.CauseID}
		if x.RuleNumber > 0 {
			words = append(words, fmt.Sprint(x.RuleNumber))
		}
		words = append(words, fmt.Sprintf("%dp", x.Packets))
		if len(x.AlsoDeniedBy) > 0 {
			words = append(words, "also "+strings.Join(x.AlsoDeniedBy, ", "))
		}
		lines = append(lines, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
	}
	return lines
}

func natWords(a flow.Addr, port uint16) string {
	if !a.IsValid() {
		return ""
	}
	return " nat " + flow.HostPort(a, port)
}

func endWords(o Outcome, diedAt string) string {
	if diedAt == "" {
		return string(o)
	}
	return string(o) + " at " + diedAt
}

// expect compares the lines of every kind that want names: all of a kind
// must be there, in any order. "no data" wants none of the kind.
func expect(t *testing.T, r *Result, want ...string) {
	t.Helper()
	got := told(r)
	wants := map[string][]string{}
	for _, w := range want {
		kind, rest, _ := strings.Cut(w, " ")
		if kind == "no" {
			wants[rest] = nil
			continue
		}
		wants[kind] = append(wants[kind], strings.Join(strings.Fields(w), " "))
	}
	for _, kind := range sortedKeys(wants) {
		g := slices.DeleteFunc(slices.Clone(got), func(l string) bool { return !strings.HasPrefix(l, kind+" ") })
		w := wants[kind]
		slices.Sort(g)
		slices.Sort(w)
		if !slices.Equal(g, w) {
			t.Errorf("%s lines:\n got:\n  %s\nwant:\n  %s", kind, strings.Join(g, "\n  "), strings.Join(w, "\n  "))
		}
	}
}

// A scenario is one row of a truth table.
type scenario struct {
	name  string
	calls []string // on the wire
	more  []string // further records
	net   []string // edits of the network
	want  []string
}

// play runs scenarios in both formats with the base network.
func play(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		for _, f := range formats {
			t.Run(s.name+"/"+f.name, func(t *testing.T) {
				rs := slices.Concat(calls(f, s.calls...), records(s.more...))
				expect(t, analysed(t, rs, Options{Network: network(t, s.net...)}), s.want...)
			})
		}
	}
}
