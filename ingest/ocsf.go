package ingest

import (
	"errors"
	"fmt"
	"math"

	"ephemera/ingest/flow"
)

// ocsfReader translates the rows of Amazon Security Lake's VPC flow logs back
// into records. They are OCSF events of the class network activity, with
// nested columns.
//
// Sources: the Security Lake User Guide, "VPC flow logs in Security Lake",
// names the mappings github.com/ocsf/examples, mappings/markdown/AWS/
// v1.0.0-rc.2/VPC Flowlogs (source version 1) and v1.1.0/VPC Flowlogs (source
// version 2). Which number stands for which traffic-path is in the same
// repository, mappings/dataprepper/AWS/v1.1.0/VPC Flow/pipeline.yaml. That
// source version 1 writes log-status into unmapped, "-" for text and null for
// numbers where a field is absent, and the words "ingress" and "egress" for
// directions, is in the events of Elastic's github.com/elastic/beats,
// x-pack/libbeat/reader/parquet/testdata/vpc_flow.json.
//
// The mapping is read backwards only where one event comes from one record:
//
//   - An endpoint's ip is the address in the packet header. srcaddr and
//     dstaddr were written to intermediate_ips where they differ from it.
//   - The interface, its VPC, subnet and instance stand at the endpoint where
//     the interface is. That alone is not taken for a direction: for records
//     without one they stand at the source.
//   - boundary_id 99 and 0 are any other traffic-path, or none.
//
// What OCSF has no place for (resource-id, reject-reason, and the other fields
// that Security Lake's flow logs do not have) is absent, unless it stands in
// unmapped under its name.
type ocsfReader struct {
	d              *parquetDecoder
	class, product *parquetColumn

	src, dst  ocsfEndpoint
	direct    []ocsfField
	sided     []ocsfSided
	direction []*parquetColumn
	boundary  *parquetColumn
	verdicts  []*parquetColumn

	keys, values *parquetColumn // of unmapped

	field string // of the first error in the row
	err   error
	text  []byte // scratch
}

// ocsfField is a field that is copied from the first of some columns that has
// a value.
type ocsfField struct {
	field   flow.Field
	columns []*parquetColumn
}

// ocsfEndpoint is a source or a destination.
type ocsfEndpoint struct {
	addr, header flow.Field
	ip           *parquetColumn
	via          *parquetColumn // intermediate_ips
}

// ocsfSided is a field of the interface, at the source or at the destination.
type ocsfSided struct {
	field    flow.Field
	src, dst *parquetColumn
}

// ocsfDirect says where fields are that were copied. Of several places the
// first that has a value counts: the name of the account's column changed
// with OCSF 1.1, and so did which of the times are written.
var ocsfDirect = []struct {
	field flow.Field
	paths []string
}{
	{flow.FieldVersion, []string{"metadata.product.version"}},
	{flow.FieldAccountID, []string{"cloud.account_uid", "cloud.account.uid"}},
	{flow.FieldSrcPort, []string{"src_endpoint.port"}},
	{flow.FieldDstPort, []string{"dst_endpoint.port"}},
	{flow.FieldProtocol, []string{"connection_info.protocol_num"}},
	{flow.FieldPackets, []string{"traffic.packets"}},
	{flow.FieldBytes, []string{"traffic.bytes"}},
	{flow.FieldStart, []string{"start_time", "start_time_dt", "time"}},
	{flow.FieldEnd, []string{"end_time", "end_time_dt"}},
	{flow.FieldLogStatus, []string{"status_code"}},
	{flow.FieldTCPFlags, []string{"connection_info.tcp_flags"}},
	{flow.FieldType, []string{"connection_info.protocol_ver"}},
	{flow.FieldRegion, []string{"cloud.region"}},
	{flow.FieldAZID, []string{"cloud.zone"}},
	{flow.FieldPktSrcAWSService, []string{"src_endpoint.svc_name"}},
	{flow.FieldPktDstAWSService, []string{"dst_endpoint.svc_name"}},
}

// ocsfSides says where fields of the interface are at an endpoint.
var ocsfSides = []struct {
	field flow.Field
	name  string
}{
	{flow.FieldInterfaceID, "interface_uid"},
	{flow.FieldVPCID, "vpc_uid"},
	{flow.FieldSubnetID, "subnet_uid"},
	{flow.FieldInstanceID, "instance_uid"},
}

// ocsfVerdicts says where the action is, the surest place first, and which
// value means which. Source version 1 has the disposition and the activity,
// version 2 the action besides.
var ocsfVerdicts = []struct {
	path   string
	values map[string]flow.Action
}{
	{"action_id", map[string]flow.Action{"1": flow.Accept, "2": flow.Reject}},
	{"disposition_id", map[string]flow.Action{"1": flow.Accept, "2": flow.Reject}},
	{"action", map[string]flow.Action{"Allowed": flow.Accept, "Denied": flow.Reject}},
	{"disposition", map[string]flow.Action{"Allowed": flow.Accept, "Blocked": flow.Reject}},
	// Open (called Established at first) and Traffic; Refuse.
	{"activity_id", map[string]flow.Action{"1": flow.Accept, "6": flow.Accept, "5": flow.Reject}},
}

// ocsfDirections are the values of connection_info.direction_id and direction.
var ocsfDirections = map[string]flow.Direction{
	"1": flow.Ingress, "ingress": flow.Ingress, "Inbound": flow.Ingress,
	"2": flow.Egress, "egress": flow.Egress, "Outbound": flow.Egress,
}

// The boundaries from "same VPC" to "internet gateway" are the traffic-paths
// from 1 to 8, in the same order.
const ocsfBoundaries = 3

const (
	ocsfClass   = 4001 // network activity
	ocsfProduct = "Amazon VPC"
)

// isOCSF reports whether the columns are those of a network event of OCSF.
func isOCSF(f *footer) bool {
	return f.find("class_uid") != nil && f.find("src_endpoint", "ip") != nil && f.find("dst_endpoint", "ip") != nil
}

// newOCSFReader adds to d the columns that the wanted fields need.
func newOCSFReader(d *parquetDecoder, f *footer) (*ocsfReader, error) {
	if f.find("metadata", "product", "name") == nil {
		return nil, fmt.Errorf("OCSF events without metadata.product.name, which would tell that they are of %s; give the files that Security Lake wrote", ocsfProduct)
	}
	b := ocsfBuilder{d: d, footer: f, want: d.values.opts.wanted(), reader: &ocsfReader{d: d}}
	if err := b.build(); err != nil {
		return nil, err
	}
	format, err := newFormat(b.names)
	if err != nil {
		return nil, err
	}
	d.plan, err = newPlan(format, b.want, false)
	return b.reader, err
}

// ocsfBuilder makes an ocsfReader.
type ocsfBuilder struct {
	d      *parquetDecoder
	footer *footer
	want   flow.FieldSet
	reader *ocsfReader
	names  []string // of the fields that are read
	err    error
}

func (b *ocsfBuilder) build() error {
	o := b.reader
	number := valueRules{kind: kindNumber, limit: math.MaxInt64}
	o.class = b.column("class_uid", flow.FieldVersion, number)
	o.product = b.column("metadata.product.name", flow.FieldType, valueRules{})
	for _, m := range ocsfDirect {
		if !b.want.Has(m.field) {
			continue
		}
		if columns := b.columns(m.field, m.paths); len(columns) > 0 {
			b.has(m.field)
			o.direct = append(o.direct, ocsfField{m.field, columns})
		}
	}
	o.src = b.endpoint("src_endpoint", flow.FieldSrcAddr, flow.FieldPktSrcAddr)
	o.dst = b.endpoint("dst_endpoint", flow.FieldDstAddr, flow.FieldPktDstAddr)
	b.sides()
	if b.want.Has(flow.FieldTrafficPath) {
		o.boundary = b.column("connection_info.boundary_id", flow.FieldTrafficPath, valueRules{kind: kindNumber, limit: math.MaxUint16})
	}
	if b.want.Has(flow.FieldAction) {
		for _, v := range ocsfVerdicts {
			if c := b.column(v.path, flow.FieldAction, enumOf(v.values)); c != nil {
				o.verdicts = append(o.verdicts, c)
			}
		}
	}
	b.unmapped()
	for _, f := range []flow.Field{flow.FieldAction, flow.FieldFlowDirection, flow.FieldTrafficPath} {
		if b.want.Has(f) {
			b.has(f)
		}
	}
	return b.err
}

// has notes that the field f is read.
func (b *ocsfBuilder) has(f flow.Field) { b.names = append(b.names, f.Name()) }

// column adds the column at path, if there is one, for values of f.
func (b *ocsfBuilder) column(path string, f flow.Field, rules valueRules) *parquetColumn {
	l := b.footer.find(path)
	if l == nil || b.err != nil {
		return nil
	}
	var c *parquetColumn
	c, b.err = b.d.add(b.footer, l, column{name: f.Name(), field: f, read: decode}, rules)
	return c
}

func (b *ocsfBuilder) columns(f flow.Field, paths []string) (columns []*parquetColumn) {
	for _, path := range paths {
		if c := b.column(path, f, fieldRules[f]); c != nil {
			c.fallback = len(columns) > 0
			columns = append(columns, c)
		}
	}
	return columns
}

func (b *ocsfBuilder) endpoint(name string, addr, header flow.Field) ocsfEndpoint {
	e := ocsfEndpoint{addr: addr, header: header}
	if !b.want.Has(addr) && !b.want.Has(header) {
		return e
	}
	rules := valueRules{kind: kindAddr}
	e.ip = b.column(name+".ip", header, rules)
	if b.want.Has(header) {
		b.has(header)
	}
	if b.want.Has(addr) {
		b.has(addr)
		// The ways in which writers spell a list.
		for _, list := range []string{".list.element", ".bag.array_element", ".list.item", ".array", ""} {
			if l := b.footer.find(name + ".intermediate_ips" + list); l != nil && l.maxRepetition == 1 {
				e.via = b.column(l.name(), addr, rules)
			}
		}
	}
	return e
}

// sides adds the fields of the interface, and the direction, which decides
// when both endpoints have them.
func (b *ocsfBuilder) sides() {
	o := b.reader
	for _, m := range ocsfSides {
		if !b.want.Has(m.field) {
			continue
		}
		s := ocsfSided{m.field, b.column("src_endpoint."+m.name, m.field, valueRules{}), b.column("dst_endpoint."+m.name, m.field, valueRules{})}
		if s.src != nil || s.dst != nil {
			b.has(m.field)
			o.sided = append(o.sided, s)
		}
	}
	if len(o.sided) == 0 && !b.want.Has(flow.FieldFlowDirection) {
		return
	}
	for _, path := range []string{"connection_info.direction_id", "connection_info.direction"} {
		if c := b.column(path, flow.FieldFlowDirection, enumOf(ocsfDirections)); c != nil {
			o.direction = append(o.direction, c)
		}
	}
}

// unmapped adds the map of fields that OCSF has no place for.
func (b *ocsfBuilder) unmapped() {
	for _, entries := range []string{"unmapped.key_value", "unmapped.map", "unmapped.entries"} {
		keys, values := b.footer.find(entries+".key"), b.footer.find(entries+".value")
		if keys != nil && values != nil && keys.maxRepetition == 1 && values.maxRepetition == 1 {
			b.reader.keys = b.column(keys.name(), flow.FieldType, valueRules{})
			b.reader.values = b.column(values.name(), flow.FieldType, valueRules{})
			return
		}
	}
}

// enumOf makes the rules of a column whose values stand for others. A value
// that is not among them stands for nothing.
func enumOf[T ~uint8](values map[string]T) valueRules {
	return valueRules{kind: kindEnum, enum: func(tok []byte) (uint64, error) { return uint64(values[string(tok)]), nil }}
}

// record puts row i of the block together. See parquetDecoder.record.
func (o *ocsfReader) record(r *flow.Record, i int) (field string, err error) {
	if err := o.checkEvent(i); err != nil {
		return "", err
	}
	o.field, o.err = "", nil
	for _, m := range o.direct {
		for _, c := range m.columns {
			if o.has(c, i) {
				o.d.set(r, c, i)
				break
			}
		}
	}
	o.endpoint(r, &o.src, i)
	o.endpoint(r, &o.dst, i)
	direction := flow.Direction(o.first(o.direction, i))
	o.setEnum(r, flow.FieldFlowDirection, uint64(direction))
	for _, m := range o.sided {
		o.side(r, m, direction, i)
	}
	if o.has(o.boundary, i) {
		if path := o.boundary.cells.nums[i] - ocsfBoundaries; path >= 1 && path <= 8 {
			o.setEnum(r, flow.FieldTrafficPath, path)
		}
	}
	o.setEnum(r, flow.FieldAction, o.first(o.verdicts, i))
	o.extras(r, i)
	r.Extra = o.d.values.takeExtra()
	if absent := o.d.plan.needed &^ r.Has; o.err == nil && absent != 0 && r.Status == flow.OK {
		return o.d.plan.missing(absent), errAbsent
	}
	return o.field, o.err
}

// checkEvent refuses files of other events, which could look alike.
func (o *ocsfReader) checkEvent(i int) error {
	if o.class == nil || o.product == nil {
		return notFlowLog(errors.New("OCSF events without class or product; give VPC flow logs"))
	}
	if c := o.class; c.cells.state[i] != present || c.cells.nums[i] != ocsfClass {
		return notFlowLog(fmt.Errorf("row %d is an OCSF event of another class than %d, network activity; give VPC flow logs", o.d.row, ocsfClass))
	}
	if c := o.product; c.cells.state[i] != present || c.cells.strs[i] != ocsfProduct {
		return notFlowLog(fmt.Errorf("row %d is an OCSF event of %q, not of %q; give VPC flow logs", o.d.row, c.cells.strs[i], ocsfProduct))
	}
	return nil
}

// has reports whether c, which may be nil, has a value in row i. It notes the
// first one that could not be read.
func (o *ocsfReader) has(c *parquetColumn, i int) bool {
	if c == nil {
		return false
	}
	if c.cells.state[i] == bad {
		o.fail(c.column.name, c.cells.errs[i])
	}
	return c.cells.state[i] == present
}

func (o *ocsfReader) fail(field string, err error) {
	if o.err == nil {
		o.field, o.err = field, err
	}
}

// first returns the first value that stands for something, or 0.
func (o *ocsfReader) first(columns []*parquetColumn, i int) uint64 {
	for _, c := range columns {
		if o.has(c, i) && c.cells.nums[i] != 0 {
			return c.cells.nums[i]
		}
	}
	return 0
}

// setEnum stores v in the field f, unless v is 0, which stands for nothing.
func (o *ocsfReader) setEnum(r *flow.Record, f flow.Field, v uint64) {
	if v != 0 && o.d.values.opts.wanted().Has(f) {
		r.Has |= flow.Fields(f)
		setNumber(r, f, v)
	}
}

// endpoint sets the addresses of an endpoint.
func (o *ocsfReader) endpoint(r *flow.Record, e *ocsfEndpoint, i int) {
	if !o.has(e.ip, i) {
		return
	}
	want := o.d.values.opts.wanted()
	ip := e.ip.cells.addrs[i]
	if want.Has(e.header) {
		r.Has |= flow.Fields(e.header)
		setAddr(r, e.header, ip)
	}
	if !want.Has(e.addr) {
		return
	}
	addr, err := e.via.only(i, ip)
	if err != nil {
		o.fail(e.addr.Name(), err)
		return
	}
	r.Has |= flow.Fields(e.addr)
	setAddr(r, e.addr, addr)
}

// only returns the one address in row i of a repeated column, or other when
// there is none.
func (c *parquetColumn) only(i int, other flow.Addr) (flow.Addr, error) {
	if c == nil {
		return other, nil
	}
	found := false
	for k := c.starts[i]; k < c.starts[i+1]; k++ {
		switch c.cells.state[k] {
		case bad:
			return other, c.cells.errs[k]
		case present:
			if found {
				return other, errors.New("several intermediate_ips, where a flow log has one address")
			}
			other, found = c.cells.addrs[k], true
		}
	}
	return other, nil
}

// side sets a field of the interface. Where both endpoints have it and the
// direction does not tell, it is left absent.
func (o *ocsfReader) side(r *flow.Record, m ocsfSided, direction flow.Direction, i int) {
	c := m.src
	switch src, dst := o.has(m.src, i), o.has(m.dst, i); {
	case src && dst && direction == flow.NoDirection, !src && !dst:
		return
	case !src, dst && direction == flow.Ingress:
		c = m.dst
	}
	o.d.set(r, c, i)
}

// extras reads the fields in unmapped.
func (o *ocsfReader) extras(r *flow.Record, i int) {
	if o.keys == nil || o.keys.starts[i+1]-o.keys.starts[i] != o.values.starts[i+1]-o.values.starts[i] {
		return
	}
	v := o.d.values
	for k, n := o.keys.starts[i], o.values.starts[i]; k < o.keys.starts[i+1]; k, n = k+1, n+1 {
		if !o.has(o.keys, k) || !o.has(o.values, n) {
			continue
		}
		name, value := o.keys.cells.strs[k], o.values.cells.strs[n]
		f, known := flow.FieldNamed(name)
		switch {
		case known && v.opts.wanted().Has(f) && !r.Has.Has(f):
			r.Has |= flow.Fields(f)
			o.text = append(o.text[:0], value...)
			if err := v.setField(r, f, o.text); err != nil {
				o.fail(f.Name(), err)
			}
		case !known && v.opts.KeepUnknown:
			v.keepExtra(name, value)
		}
	}
}
