package ingest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"ephemera/ingest/flow"
)

// event is a row of Security Lake, by the paths of columns. A list of
// addresses is a []string, unmapped a [][2]string.
type event map[string]any

// ocsfSchema gives the columns of a source version. Lists and maps come from
// the library in the standard forms.
func ocsfSchema(version int) parquet.Group {
	text := func() parquet.Node { return parquet.Optional(parquet.String()) }
	number := func() parquet.Node { return parquet.Optional(parquet.Int(32)) }
	long := func() parquet.Node { return parquet.Optional(parquet.Int(64)) }
	group := func(g parquet.Group) parquet.Node { return parquet.Optional(g) }
	endpoint := func() parquet.Node {
		return group(parquet.Group{"ip": text(), "port": number(), "svc_name": text(), "interface_uid": text(), "vpc_uid": text(),
			"subnet_uid": text(), "instance_uid": text(), "intermediate_ips": parquet.Optional(parquet.List(text()))})
	}
	g := parquet.Group{
		"metadata":     group(parquet.Group{"product": group(parquet.Group{"name": text(), "version": text()}), "version": text()}),
		"src_endpoint": endpoint(), "dst_endpoint": endpoint(), "traffic": group(parquet.Group{"bytes": long(), "packets": long()}),
		"connection_info": group(parquet.Group{"protocol_num": number(), "tcp_flags": number(), "protocol_ver": text(),
			"boundary_id": number(), "direction_id": number(), "direction": text()}),
		"time": long(), "class_uid": number(), "activity_id": number(), "disposition": text(),
		"unmapped": parquet.Optional(parquet.Map(parquet.String(), text())),
	}
	if version == 1 {
		g["cloud"] = group(parquet.Group{"account_uid": text(), "region": text(), "zone": text()})
		g["start_time"], g["end_time"], g["disposition_id"] = long(), long(), number()
		return g
	}
	g["cloud"] = group(parquet.Group{"account": group(parquet.Group{"uid": text()}), "region": text(), "zone": text()})
	for _, name := range []string{"time_dt", "start_time_dt", "end_time_dt"} {
		g[name] = parquet.Optional(parquet.Timestamp(parquet.Microsecond))
	}
	g["status_code"], g["action_id"], g["action"], g["region"] = text(), number(), text(), text()
	return g
}

// writeOCSF writes events.
func writeOCSF(t testing.TB, version int, events []event, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	schema := parquet.NewSchema("event", ocsfSchema(version))
	w := parquet.NewWriter(&b, append([]parquet.WriterOption{schema}, options...)...)
	for _, e := range events {
		var row parquet.Row
		for k, path := range schema.Columns() {
			leaf, _ := schema.Lookup(path...)
			row = append(row, ocsfValues(e, path, k, leaf.MaxDefinitionLevel)...)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ocsfValues gives the values of one column in one row.
func ocsfValues(e event, path []string, k, definition int) []parquet.Value {
	var list []any
	switch v := e[strings.TrimSuffix(strings.Join(path, "."), ".list.element")].(type) {
	case nil:
	case []string:
		for _, s := range v {
			list = append(list, s)
		}
	default:
		list = append(list, v)
	}
	if path[0] == "unmapped" {
		for _, entry := range e["unmapped"].([][2]string) {
			list = append(list, entry[slices.Index([]string{"key", "value"}, path[2])])
		}
	}
	if len(list) == 0 {
		return []parquet.Value{parquet.NullValue().Level(0, 0, k)}
	}
	var values []parquet.Value
	for i, v := range list {
		values = append(values, parquet.ValueOf(v).Level(min(i, 1), definition, k))
	}
	return values
}

// eventOf maps a record, given by its fields as text has them, as the mapping
// of github.com/ocsf/examples does.
func eventOf(version int, r map[string]string) event {
	e := event{"class_uid": int32(4001), "metadata.product.name": "Amazon VPC", "metadata.product.version": r["version"]}
	number := func(path, name string) {
		if n, err := strconv.ParseInt(r[name], 10, 64); err == nil {
			e[path] = int32(n)
			if strings.HasPrefix(path, "traffic.") {
				e[path] = n
			}
		}
	}
	number("src_endpoint.port", "srcport")
	number("dst_endpoint.port", "dstport")
	number("connection_info.protocol_num", "protocol")
	number("connection_info.tcp_flags", "tcp-flags")
	number("traffic.packets", "packets")
	number("traffic.bytes", "bytes")
	e["connection_info.protocol_ver"] = r["type"]
	e["cloud.region"], e["cloud.zone"] = r["region"], r["az-id"]
	for _, side := range []string{"src", "dst"} {
		e[side+"_endpoint.svc_name"] = r["pkt-"+side+"-aws-service"]
		e[side+"_endpoint.ip"] = r["pkt-"+side+"addr"]
		if r[side+"addr"] != r["pkt-"+side+"addr"] {
			e[side+"_endpoint.intermediate_ips"] = []string{r[side+"addr"]}
		}
	}
	here := "src_endpoint."
	if r["flow-direction"] == "ingress" {
		here = "dst_endpoint."
	}
	for path, name := range map[string]string{"interface_uid": "interface-id", "vpc_uid": "vpc-id", "subnet_uid": "subnet-id", "instance_uid": "instance-id"} {
		e[here+path] = r[name]
	}
	e["connection_info.direction_id"] = map[string]int32{"ingress": 1, "egress": 2}[r["flow-direction"]]
	e["connection_info.boundary_id"] = int32(99)
	if n, err := strconv.Atoi(r["traffic-path"]); err == nil {
		e["connection_info.boundary_id"] = int32(n + 3)
	}
	start, _ := strconv.ParseInt(r["start"], 10, 64)
	end, _ := strconv.ParseInt(r["end"], 10, 64)
	e["time"] = start * 1000
	unmapped := [][2]string{{"sublocation_type", r["sublocation-type"]}, {"sublocation_id", r["sublocation-id"]}}
	verdict := map[string]int32{"ACCEPT": 1, "REJECT": 2}[r["action"]]
	if version == 1 {
		e["cloud.account_uid"], e["start_time"], e["end_time"] = r["account-id"], start*1000, end*1000
		e["activity_id"], e["disposition_id"] = []int32{0, 1, 5}[verdict], verdict
		unmapped = append(unmapped, [2]string{"log_status", r["log-status"]})
	} else {
		e["cloud.account.uid"], e["start_time_dt"], e["end_time_dt"] = r["account-id"], start*1e6, end*1e6
		e["activity_id"], e["action_id"] = []int32{0, 6, 5}[verdict], verdict
		e["status_code"] = r["log-status"]
	}
	e["unmapped"] = unmapped
	return e
}

// randomV5 is a record as Security Lake's flow logs have them.
func randomV5(rnd *rand.Rand) map[string]string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	r := map[string]string{}
	for _, name := range strings.Fields(v5Header) {
		r[name] = "-"
	}
	start := 1795370000 + rnd.IntN(3600)
	r["version"], r["account-id"], r["interface-id"] = "5", pick("123456789012", "unknown"), fmt.Sprintf("eni-%d", rnd.IntN(9))
	r["vpc-id"], r["subnet-id"], r["region"], r["az-id"] = "vpc-1", pick("subnet-1", "subnet-2"), "us-east-1", "use1-az4"
	r["start"], r["end"], r["log-status"] = strconv.Itoa(start), strconv.Itoa(start+rnd.IntN(60)), pick("OK", "OK", "OK", "NODATA", "SKIPDATA")
	if r["log-status"] != "OK" {
		return r
	}
	r["pkt-srcaddr"], r["pkt-dstaddr"] = randomAddr(rnd), randomAddr(rnd)
	r["srcaddr"], r["dstaddr"] = pick(r["pkt-srcaddr"], "10.0.0.220"), pick(r["pkt-dstaddr"], "10.0.0.220")
	r["srcport"], r["dstport"], r["protocol"] = strconv.Itoa(rnd.IntN(65536)), pick("21", "0"), pick("6", "17", "1")
	r["packets"], r["bytes"] = strconv.Itoa(rnd.IntN(1000)), strconv.Itoa(rnd.Int())
	r["action"], r["type"] = pick("ACCEPT", "REJECT"), pick("IPv4", "IPv6")
	r["flow-direction"], r["tcp-flags"] = pick("ingress", "egress"), pick("0", "2", "19", "-")
	r["instance-id"], r["pkt-src-aws-service"] = pick("i-1", "-"), pick("EC2", "-")
	if r["flow-direction"] == "egress" {
		r["traffic-path"] = strconv.Itoa(1 + rnd.IntN(8))
	}
	return r
}

// TestOCSFAgainstText maps random records to events, and compares what comes
// back with the records in text, for random sets of wanted fields and time
// windows.
func TestOCSFAgainstText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(15, 16))
	names := strings.Fields(v5Header)
	for round := range 40 {
		version, rows := 1+round%2, 1+rnd.IntN(300)
		var events []event
		var log strings.Builder
		log.WriteString(v5Header + "\n")
		for range rows {
			r := randomV5(rnd)
			events = append(events, eventOf(version, r))
			for _, name := range names {
				log.WriteString(r[name] + " ")
			}
			log.WriteString("\n")
		}
		file := writeOCSF(t, version, events, randomOptions(rnd, rows)...)
		var opts Options
		if rnd.IntN(2) == 0 {
			opts.Want = flow.FieldSet(rnd.Uint64()) & flow.AllFields
		}
		if rnd.IntN(2) == 0 {
			opts.From, opts.To = randomWindow(rnd)
		}
		sameSteps(t, sortExtra(decodeParquet(t, file, opts)), sortExtra(decodeText(t, log.String(), opts)))
	}
}

// TestOCSFEvents checks single events that are out of the ordinary.
func TestOCSFEvents(t *testing.T) {
	const format = "interface-id srcaddr dstaddr pkt-srcaddr pkt-dstaddr action flow-direction traffic-path log-status"
	for _, test := range []struct {
		name    string
		version int
		change  event
		want    string
	}{
		{"as it is", 1, nil, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT ingress - OK"},
		{"as it is", 2, nil, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT ingress - OK"},
		{"direction in words", 1, event{"connection_info.direction_id": int32(0), "connection_info.direction": "egress"},
			"eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT egress - OK"},
		{"no direction: the side is none", 1, event{"connection_info.direction_id": int32(0)},
			"eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT - - OK"},
		{"both sides, direction", 1, event{"src_endpoint.interface_uid": "eni-2"}, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT ingress - OK"},
		{"both sides, no direction", 1, event{"src_endpoint.interface_uid": "eni-2", "connection_info.direction_id": nil},
			"- 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT - - OK"},
		{"several addresses", 1, event{"dst_endpoint.intermediate_ips": []string{"10.0.0.1", "10.0.0.2"}},
			"dstaddr: several intermediate_ips, where a flow log has one address"},
		{"a bad address", 1, event{"dst_endpoint.intermediate_ips": []string{"10.0.0"}}, `dstaddr: "10.0.0" is not an address`},
		{"a bad address of the packet", 2, event{"src_endpoint.ip": "::x"}, `pkt-srcaddr: "::x" is not an address`},
		{"no address", 2, event{"src_endpoint.ip": "-"}, `srcaddr: "-" in a record of log-status OK`},
		{"activity alone", 1, event{"disposition_id": nil, "activity_id": int32(5)}, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 REJECT ingress - OK"},
		{"disposition in words", 2, event{"action_id": nil, "activity_id": int32(0), "disposition": "Blocked"},
			"eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 REJECT ingress - OK"},
		{"action in words", 2, event{"action_id": int32(99), "action": "Denied", "activity_id": int32(0)},
			"eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 REJECT ingress - OK"},
		{"no verdict", 2, event{"action_id": int32(0), "activity_id": int32(0)}, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 - ingress - OK"},
		{"gateway endpoint", 2, event{"connection_info.boundary_id": int32(10)}, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT ingress 7 OK"},
		{"external is no traffic-path", 2, event{"connection_info.boundary_id": int32(3)}, "eni-1 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.10 ACCEPT ingress - OK"},
		{"status in unmapped", 1, event{"unmapped": [][2]string{{"log_status", "SKIPDATA"}}, "src_endpoint.ip": "-"},
			"eni-1 - 10.0.0.220 - 203.0.113.10 ACCEPT ingress - SKIPDATA"},
		{"a bad status", 2, event{"status_code": "200"}, `log-status: "200" is none of OK, NODATA and SKIPDATA`},
		{"another class", 1, event{"class_uid": int32(4003)}, "log: row 1 is an OCSF event of another class than 4001, network activity; give VPC flow logs"},
		{"another product", 1, event{"metadata.product.name": "Firewall"}, `log: row 1 is an OCSF event of "Firewall", not of "Amazon VPC"; give VPC flow logs`},
	} {
		t.Run(fmt.Sprint(test.name, " ", test.version), func(t *testing.T) {
			e := eventOf(test.version, map[string]string{
				"version": "5", "interface-id": "eni-1", "srcaddr": "10.0.1.5", "dstaddr": "10.0.0.220", "pkt-srcaddr": "10.0.1.5",
				"pkt-dstaddr": "203.0.113.10", "protocol": "6", "start": "1795370837", "end": "1795370861", "action": "ACCEPT",
				"flow-direction": "ingress", "traffic-path": "-", "log-status": "OK",
			})
			for path, v := range test.change {
				e[path] = v
			}
			got := decodeParquet(t, writeOCSF(t, test.version, []event{e}), Options{})
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			s := got[0].err
			if s == "" {
				s = string(mustFormat(format).AppendRecord(nil, &got[0].record))
			}
			if s != test.want {
				t.Errorf("got  %s\nwant %s", s, test.want)
			}
		})
	}
}

// Fields in unmapped are read under their names, unknown ones when they are
// to be kept.
func TestOCSFUnmapped(t *testing.T) {
	e := eventOf(2, map[string]string{"srcaddr": "10.0.1.5", "pkt-srcaddr": "10.0.1.5", "dstaddr": "10.0.0.1", "pkt-dstaddr": "10.0.0.1",
		"protocol": "6", "start": "1795370837", "end": "1795370861", "log-status": "OK", "version": "5"})
	e["unmapped"] = [][2]string{{"ecs_task_id", "t-1"}, {"resource_id", "nat-1"}, {"color", "blue"}, {"sublocation_id", "-"}, {"srcaddr", "10.9.9.9"}}
	for keep, want := range map[bool]string{true: "[{ecs-task-id t-1} {color blue}]", false: "[{ecs-task-id t-1}]"} {
		got := decodeParquet(t, writeOCSF(t, 2, []event{e}), Options{KeepUnknown: keep})
		if r := got[0].record; fmt.Sprint(r.Extra) != want || r.ResourceID != "nat-1" || r.Src.String() != "10.0.1.5" {
			t.Errorf("got %v, %s, %s, want %s", r.Extra, r.ResourceID, r.Src, want)
		}
	}
}

// OCSF without what would tell where it comes from is not guessed at.
func TestOCSFWithoutProduct(t *testing.T) {
	file := writeParquet(t, []testColumn{
		{"class_uid", parquet.Int(32), []any{int32(4001)}},
		{"dst_endpoint", parquet.Group{"ip": parquet.String()}, []any{"10.0.0.1"}},
		{"src_endpoint", parquet.Group{"ip": parquet.String()}, []any{"10.0.0.2"}},
	})
	got := decodeParquet(t, file, Options{})
	if len(got) != 1 || !strings.Contains(got[0].err, "OCSF events without metadata.product.name") {
		t.Errorf("got %+v", got)
	}
}

// Nothing is allocated for a record, unless it has extra fields.
func TestOCSFAllocatesNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(17, 18))
	var events []event
	for range 4000 {
		r := randomV5(rnd)
		r["type"], r["pkt-src-aws-service"] = "-", "-" // these go to Record.Extra
		events = append(events, eventOf(1, r))
	}
	file := writeOCSF(t, 1, events)
	d := newParquetDecoder(&Options{Want: flow.AllFields})
	var r flow.Record
	d.reset(bytes.NewReader(file), int64(len(file)), "log")
	for d.next(&r) != io.EOF {
	}
	d.reset(bytes.NewReader(file), int64(len(file)), "log")
	next := func() {
		if err := d.next(&r); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		next()
	}
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("got %v allocations per record, want none", n)
	}
}
