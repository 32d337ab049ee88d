package questions

import (
	"cmp"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// The questions answered slowly and obviously: everything in memory, a map of
// printed keys each.

// group is one row of an answer.
type group struct {
	key                     []any // strings and ints, in the order of columns
	records, packets, bytes uint64
	start, end              int64
}

type groups map[string]*group

func (g groups) add(r *flow.Record, key ...any) {
	name := fmt.Sprint(key...)
	if g[name] == nil {
		g[name] = &group{key: key, start: r.Start, end: r.End}
	}
	row := g[name]
	row.records++
	row.packets += r.Packets
	row.bytes += r.Bytes
	row.start = min(row.start, r.Start)
	row.end = max(row.end, r.End)
}

func compareKeys(a, b *group) int {
	return slices.CompareFunc(a.key, b.key, func(x, y any) int {
		if s, ok := x.(string); ok {
			return strings.Compare(s, y.(string))
		}
		return cmp.Compare(x.(int), y.(int))
	})
}

// csv prints the groups under a header; values prints what is behind the key.
func (g groups) csv(header string, values func(*group) string) string {
	rows := make([]*group, 0, len(g))
	for _, row := range g {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, compareKeys)
	var out strings.Builder
	fmt.Fprintln(&out, header)
	for _, row := range rows {
		for _, cell := range row.key {
			fmt.Fprint(&out, cell, ",")
		}
		fmt.Fprintln(&out, values(row))
	}
	return out.String()
}

func interfaceID(r *flow.Record) string {
	if r.InterfaceID == "" {
		return "-"
	}
	return r.InterfaceID
}

func ok(records []flow.Record) []*flow.Record {
	var kept []*flow.Record
	for i := range records {
		if records[i].Status == flow.OK {
			kept = append(kept, &records[i])
		}
	}
	return kept
}

func isControlPort(port uint16) bool { return port == 21 || port == 990 }

// wantSessions is sessions.csv.
func wantSessions(records []flow.Record) string {
	hosts := func(r *flow.Record) [2]string {
		both := [2]string{r.Src.String(), r.Dst.String()}
		slices.Sort(both[:])
		return both
	}
	first := map[[2]string]int64{}
	for _, r := range ok(records) {
		if r.Proto == flow.TCP && (isControlPort(r.SrcPort) || isControlPort(r.DstPort)) {
			if known, found := first[hosts(r)]; !found || r.Start < known {
				first[hosts(r)] = r.Start
			}
		}
	}
	g := groups{}
	for _, r := range ok(records) {
		if from, found := first[hosts(r)]; found && r.Proto == flow.TCP && r.End >= from-900 {
			g.add(r, interfaceID(r), r.Src.String(), r.Dst.String(), int(r.SrcPort), int(r.DstPort), r.Action.String())
		}
	}
	return g.csv("interface_id,srcaddr,dstaddr,srcport,dstport,action,records,packets,bytes,start,end",
		func(row *group) string {
			return fmt.Sprintf("%d,%d,%d,%d,%d", row.records, row.packets, row.bytes, row.start, row.end)
		})
}

// wantRejects is rejects.csv.
func wantRejects(records []flow.Record) string {
	g := groups{}
	for _, r := range ok(records) {
		if r.Action == flow.Reject {
			g.add(r, interfaceID(r), int(r.DstPort), int(r.Proto))
		}
	}
	return g.csv("interface_id,dstport,protocol,records,packets,bytes", func(row *group) string {
		return fmt.Sprintf("%d,%d,%d", row.records, row.packets, row.bytes)
	})
}

// wantDemand is demand.csv.
func wantDemand(records []flow.Record, subnets map[string]string) string {
	g := groups{}
	for _, r := range ok(records) {
		if r.Action == flow.Accept && (r.Proto == flow.TCP || r.Proto == flow.UDP) {
			g.add(r, subnets[interfaceID(r)], int(r.Proto), int(r.DstPort))
		}
	}
	return g.csv("subnet_id,protocol,dstport,records", func(row *group) string { return fmt.Sprint(row.records) })
}

// wantAggregate is the line of Aggregate.
func wantAggregate(records []flow.Record) string {
	g := groups{}
	for _, r := range ok(records) {
		g.add(r, interfaceID(r), r.Src.String(), r.Dst.String(), int(r.SrcPort), int(r.DstPort), int(r.Proto), r.Action.String())
	}
	var n, packets, bytes uint64
	sum := new(big.Int)
	add := func(factors ...int64) {
		product := big.NewInt(1)
		for _, f := range factors {
			product.Mul(product, big.NewInt(f))
		}
		sum.Add(sum, product)
	}
	for _, row := range g {
		n += row.records
		packets += row.packets
		bytes += row.bytes
		add(int64(row.records), int64(row.packets))
		add(int64(row.packets), int64(row.bytes))
		add(row.start, int64(row.records))
		ports := int64(row.key[3].(int))*65536 + int64(row.key[4].(int)) + 1
		add(row.end-row.start+1, ports, int64(row.key[5].(int))+1)
	}
	sum.Mod(sum, big.NewInt(2305843009213693951))
	return fmt.Sprintf("rows %d records %d packets %d bytes %d checksum %d\n", len(g), n, packets, bytes, sum)
}

// world draws records at random, from few enough interfaces, hosts and ports
// that keys repeat.
type world struct {
	*rand.Rand
	interfaces []string
	hosts      []flow.Addr
	ftpFrom    map[[2]flow.Addr]int64 // when FTP begins between two hosts, if ever
	seconds    int64                  // of the log
	interval   int64
}

const worldStart = 1795370000

func newWorld(seed uint64, hosts int, seconds, interval int64) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 1)), ftpFrom: map[[2]flow.Addr]int64{},
		interfaces: []string{"", "eni-0", "eni-00112233445566778", "eni-00112233445566779", "eni-1", "eni-10"},
		seconds:    seconds, interval: interval,
	}
	for i := range hosts {
		a := flow.AddrFrom4(10<<24 | uint32(w.IntN(3))<<8 | uint32(i*37))
		if w.IntN(4) == 0 {
			a, _ = flow.ParseAddr(fmt.Sprintf("2001:db8:%x::%x", w.IntN(3), i))
		}
		w.hosts = append(w.hosts, a)
	}
	for range hosts * hosts / 10 {
		pair := [2]flow.Addr{w.host(), w.host()}
		w.ftpFrom[pair] = worldStart + w.Int64N(seconds)
	}
	return w
}

func (w *world) host() flow.Addr { return w.hosts[w.IntN(len(w.hosts))] }

func (w *world) pick(of ...int) int { return of[w.IntN(len(of))] }

var defaultFields = wanted | flow.Fields(flow.FieldVersion, flow.FieldAccountID)

// record draws a record; control connections are drawn where a pair has
// begun to speak FTP.
func (w *world) record() flow.Record {
	start := worldStart + w.Int64N(w.seconds)
	r := flow.Record{
		Has: defaultFields, Version: 2, AccountID: "123456789012",
		InterfaceID: w.interfaces[w.IntN(len(w.interfaces))],
		Src:         w.host(), Dst: w.host(),
		SrcPort: uint16(w.pick(20, 443, 1024+w.IntN(5), w.IntN(65536))),
		DstPort: uint16(w.pick(22, 443, 1024+w.IntN(5), w.IntN(65536))),
		Proto:   flow.Proto(w.pick(1, 6, 6, 6, 6, 17, 17, 58)),
		Packets: uint64(1 + w.IntN(100)), Bytes: uint64(w.IntN(1e6)),
		Start: start, End: start + w.Int64N(w.interval+1),
		Action: flow.Action(w.pick(1, 1, 1, 2)),
	}
	if r.InterfaceID == "" {
		r.Has &^= flow.Fields(flow.FieldInterfaceID)
	}
	if w.IntN(50) == 0 {
		r.Bytes, r.Packets = 1<<50, 1<<40
	}
	if from, ftp := w.ftpFrom[[2]flow.Addr{r.Src, r.Dst}]; ftp && from <= r.Start && w.IntN(4) == 0 {
		r.Proto = flow.TCP
		r.SrcPort, r.DstPort = 50000, uint16(w.pick(21, 21, 990))
		if w.IntN(2) == 0 {
			r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, r.DstPort, r.SrcPort
		}
	} else if isControlPort(r.SrcPort) || isControlPort(r.DstPort) {
		r.SrcPort, r.DstPort = 1, 2
	}
	if w.IntN(30) == 0 {
		r.Status = flow.LogStatus(w.pick(1, 2))
		r.Action = flow.NoAction
		r.Has &^= flow.Fields(flow.FieldAction, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort,
			flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes)
		r.Src, r.Dst, r.SrcPort, r.DstPort, r.Proto, r.Packets, r.Bytes = flow.Addr{}, flow.Addr{}, 0, 0, 0, 0, 0
	}
	return r
}

// records draws n records in the order that an ordered log promises: a record
// comes at most 900 s after others that end later.
func (w *world) records(n int) []flow.Record {
	type coming struct {
		at int64
		flow.Record
	}
	all := make([]coming, n)
	for i := range all {
		r := w.record()
		all[i] = coming{r.End + w.Int64N(late+1), r}
	}
	slices.SortFunc(all, func(a, b coming) int { return cmp.Compare(a.at, b.at) })
	records := make([]flow.Record, n)
	for i := range all {
		records[i] = all[i].Record
	}
	return records
}
