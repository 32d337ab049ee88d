package traffic

import (
	"bytes"

	"github.com/parquet-go/parquet-go"

	"ephemera/ingest/flow"
)

// row is AWS's Parquet columns, with the types that the VPC User Guide,
// "Publish flow logs to Amazon S3", gives. Numbers can be null; text that
// does not apply is "-".
type row struct {
	Version          int32  `parquet:"version,dict,optional"`
	AccountID        string `parquet:"account_id,dict,optional"`
	InterfaceID      string `parquet:"interface_id,dict,optional"`
	SrcAddr          string `parquet:"srcaddr,dict,optional"`
	DstAddr          string `parquet:"dstaddr,dict,optional"`
	SrcPort          int32  `parquet:"srcport,dict,optional"`
	DstPort          int32  `parquet:"dstport,dict,optional"`
	Protocol         int32  `parquet:"protocol,dict,optional"`
	Packets          int64  `parquet:"packets,dict,optional"`
	Bytes            int64  `parquet:"bytes,plain,optional"`
	Start            int64  `parquet:"start,dict,optional"`
	End              int64  `parquet:"end,dict,optional"`
	Action           string `parquet:"action,dict,optional"`
	LogStatus        string `parquet:"log_status,dict,optional"`
	VPCID            string `parquet:"vpc_id,dict,optional"`
	SubnetID         string `parquet:"subnet_id,dict,optional"`
	InstanceID       string `parquet:"instance_id,dict,optional"`
	TCPFlags         int32  `parquet:"tcp_flags,dict,optional"`
	Type             string `parquet:"type,dict,optional"`
	PktSrcAddr       string `parquet:"pkt_srcaddr,dict,optional"`
	PktDstAddr       string `parquet:"pkt_dstaddr,dict,optional"`
	Region           string `parquet:"region,dict,optional"`
	AZID             string `parquet:"az_id,dict,optional"`
	SublocationType  string `parquet:"sublocation_type,dict,optional"`
	SublocationID    string `parquet:"sublocation_id,dict,optional"`
	PktSrcAWSService string `parquet:"pkt_src_aws_service,dict,optional"`
	PktDstAWSService string `parquet:"pkt_dst_aws_service,dict,optional"`
	FlowDirection    string `parquet:"flow_direction,dict,optional"`
	TrafficPath      int32  `parquet:"traffic_path,dict,optional"`
}

// parquetEncoder writes a row group for each object, as AWS does, with gzip
// and dictionaries.
type parquetEncoder struct {
	net    *network
	out    bytes.Buffer
	writer *parquet.GenericWriter[row]
	values []parquet.Value
	texts  map[string]parquet.Value // those that repeat
	addrs  map[uint32]parquet.Value
}

func newParquetEncoder(n *network) *parquetEncoder {
	e := &parquetEncoder{net: n, texts: make(map[string]parquet.Value), addrs: make(map[uint32]parquet.Value)}
	e.writer = parquet.NewGenericWriter[row](&e.out, parquet.Compression(&parquet.Gzip), parquet.DataPageVersion(1),
		parquet.PageBufferSize(1<<20), parquet.CreatedBy("parquet-go", "0.32.0", ""))
	return e
}

func (*parquetEncoder) extension() string { return ".log.parquet" }

func (e *parquetEncoder) encode(records []record) ([]byte, error) {
	e.out.Reset()
	e.writer.Reset(&e.out)
	for f, column := range e.writer.ColumnWriters() {
		e.values = e.values[:0]
		for i := range records {
			v := e.value(flow.Field(f), &records[i])
			level := 1
			if v.IsNull() {
				level = 0
			}
			e.values = append(e.values, v.Level(0, level, f))
		}
		if _, err := column.WriteRowValues(e.values); err != nil {
			return nil, err
		}
	}
	if err := e.writer.Close(); err != nil {
		return nil, err
	}
	return e.out.Bytes(), nil
}

// value returns the value of a record's column.
func (e *parquetEncoder) value(f flow.Field, r *record) parquet.Value {
	switch f {
	case flow.FieldVersion:
		return parquet.Int32Value(5)
	case flow.FieldAccountID:
		return e.text(accountID)
	case flow.FieldInterfaceID:
		return e.text(e.net.interfaces[r.iface].id)
	case flow.FieldStart:
		return parquet.Int64Value(r.start)
	case flow.FieldEnd:
		return parquet.Int64Value(r.end)
	case flow.FieldSublocationType, flow.FieldSublocationID:
		return e.text("-")
	}
	if !r.noData {
		return e.packetValue(f, r)
	}
	switch f {
	case flow.FieldSrcPort, flow.FieldDstPort, flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldTCPFlags, flow.FieldTrafficPath:
		return parquet.Value{}
	case flow.FieldLogStatus:
		return e.text("NODATA")
	}
	return e.text("-")
}

// packetValue is value for what only records with packets have.
func (e *parquetEncoder) packetValue(f flow.Field, r *record) parquet.Value {
	i := e.net.interfaces[r.iface]
	switch f {
	case flow.FieldSrcAddr:
		return e.addr(r.src)
	case flow.FieldDstAddr:
		return e.addr(r.dst)
	case flow.FieldSrcPort:
		return parquet.Int32Value(int32(r.srcPort))
	case flow.FieldDstPort:
		return parquet.Int32Value(int32(r.dstPort))
	case flow.FieldProtocol:
		return parquet.Int32Value(int32(r.proto))
	case flow.FieldPackets:
		return parquet.Int64Value(int64(r.packets))
	case flow.FieldBytes:
		return parquet.Int64Value(int64(r.bytes))
	case flow.FieldAction:
		if r.reject {
			return e.text("REJECT")
		}
		return e.text("ACCEPT")
	case flow.FieldLogStatus:
		return e.text("OK")
	case flow.FieldVPCID:
		return e.text(vpcID)
	case flow.FieldSubnetID:
		return e.text(i.subnet.id)
	case flow.FieldInstanceID:
		return e.text(orDash(i.instanceID))
	case flow.FieldTCPFlags:
		return parquet.Int32Value(int32(r.flags))
	case flow.FieldType:
		return e.text("IPv4")
	case flow.FieldPktSrcAddr:
		return e.addr(r.pktSrc)
	case flow.FieldPktDstAddr:
		return e.addr(r.pktDst)
	case flow.FieldRegion:
		return e.text(region)
	case flow.FieldAZID:
		return e.text(zoneTable[i.subnet.zone].azID)
	case flow.FieldPktSrcAWSService:
		return e.text(awsService(r.pktSrc))
	case flow.FieldPktDstAWSService:
		return e.text(awsService(r.pktDst))
	case flow.FieldFlowDirection:
		if r.path == 0 {
			return e.text("ingress")
		}
		return e.text("egress")
	default: // traffic path
		if r.path == 0 {
			return parquet.Value{}
		}
		return parquet.Int32Value(int32(r.path))
	}
}

func (e *parquetEncoder) text(s string) parquet.Value {
	v, ok := e.texts[s]
	if !ok {
		v = parquet.ByteArrayValue([]byte(s))
		e.texts[s] = v
	}
	return v
}

// addr keeps the text of addresses: there are a few ten thousand.
func (e *parquetEncoder) addr(a uint32) parquet.Value {
	v, ok := e.addrs[a]
	if !ok {
		v = parquet.ByteArrayValue(appendAddr(nil, a))
		e.addrs[a] = v
	}
	return v
}
