package traffic

import (
	"bytes"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"ephemera/ingest/flow"
)

// encoder encodes one object after the other.
type encoder interface {
	// encode returns the object's bytes, which are valid until the next call.
	encode(records []record) ([]byte, error)
	extension() string
}

func newEncoder(f Format, n *network) encoder {
	if f == Parquet {
		return newParquetEncoder(n)
	}
	return newTextEncoder(f, n)
}

// textEncoder writes a header line and a line for each record, compressed as
// AWS does.
type textEncoder struct {
	header   []byte
	custom   bool
	begin    [][]byte // of the lines of each interface
	middle   [][]byte // of the lines of each interface: its VPC, subnet and instance
	zone     [][]byte // of each interface, with what stands around it
	lines    []byte
	out      bytes.Buffer
	compress *gzip.Writer
}

func newTextEncoder(f Format, n *network) *textEncoder {
	e := &textEncoder{custom: f == Custom29}
	version, last := "2 ", flow.FieldLogStatus
	if e.custom {
		version, last = "5 ", flow.FieldTrafficPath
	}
	for f := flow.FieldVersion; f <= last; f++ {
		e.header = append(append(e.header, f.Name()...), ' ')
	}
	e.header[len(e.header)-1] = '\n'
	for _, i := range n.interfaces {
		e.begin = append(e.begin, []byte(version+accountID+" "+i.id))
		e.middle = append(e.middle, []byte(" "+vpcID+" "+i.subnet.id+" "+orDash(i.instanceID)+" "))
		e.zone = append(e.zone, []byte(" "+region+" "+zoneTable[i.subnet.zone].azID+" - - "))
	}
	e.compress, _ = gzip.NewWriterLevel(nil, 6) // the level is a valid one
	return e
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (*textEncoder) extension() string { return ".log.gz" }

func (e *textEncoder) encode(records []record) ([]byte, error) {
	e.lines = append(e.lines[:0], e.header...)
	for i := range records {
		e.lines = append(e.lines, e.begin[records[i].iface]...)
		e.lines = append(e.appendFields(e.lines, &records[i]), '\n')
	}
	e.out.Reset()
	e.compress.Reset(&e.out)
	if _, err := e.compress.Write(e.lines); err != nil {
		return nil, err
	}
	err := e.compress.Close()
	return e.out.Bytes(), err
}

// appendFields appends what follows the network interface in a line.
func (e *textEncoder) appendFields(b []byte, r *record) []byte {
	if r.noData {
		b = append(b, " - - - - - - - "...)
		b = append(appendTimes(b, r), " - NODATA"...)
		if e.custom {
			b = append(b, " - - - - - - - - - - - - - - -"...)
		}
		return b
	}
	b = appendAddr(append(b, ' '), r.src)
	b = appendAddr(append(b, ' '), r.dst)
	b = appendNumber(b, uint64(r.srcPort))
	b = appendNumber(b, uint64(r.dstPort))
	b = appendNumber(b, uint64(r.proto))
	b = appendNumber(b, uint64(r.packets))
	b = appendNumber(b, r.bytes)
	b = appendTimes(append(b, ' '), r)
	if r.reject {
		b = append(b, " REJECT OK"...)
	} else {
		b = append(b, " ACCEPT OK"...)
	}
	if e.custom {
		b = e.appendMetadata(b, r)
	}
	return b
}

// appendMetadata appends the fields of versions 3 to 5.
func (e *textEncoder) appendMetadata(b []byte, r *record) []byte {
	b = append(b, e.middle[r.iface]...)
	b = strconv.AppendUint(b, uint64(r.flags), 10)
	b = appendAddr(append(b, " IPv4 "...), r.pktSrc)
	b = appendAddr(append(b, ' '), r.pktDst)
	b = append(b, e.zone[r.iface]...)
	b = append(append(b, awsService(r.pktSrc)...), ' ')
	b = append(append(b, awsService(r.pktDst)...), ' ')
	if r.path == 0 {
		return append(b, "ingress -"...)
	}
	return append(append(b, "egress "...), '0'+r.path)
}

func appendTimes(b []byte, r *record) []byte {
	b = strconv.AppendInt(b, r.start, 10)
	return strconv.AppendInt(append(b, ' '), r.end, 10)
}

func appendNumber(b []byte, n uint64) []byte { return strconv.AppendUint(append(b, ' '), n, 10) }

func appendAddr(b []byte, a uint32) []byte {
	b = append(b, octets[a>>24]...)
	b = append(append(b, '.'), octets[a>>16&0xff]...)
	b = append(append(b, '.'), octets[a>>8&0xff]...)
	return append(append(b, '.'), octets[a&0xff]...)
}

var octets = func() (o [256]string) {
	for i := range o {
		o[i] = strconv.Itoa(i)
	}
	return o
}()

// awsService returns whose address range a is in: the sites that are most
// used are AWS's.
func awsService(a uint32) string {
	if a>>8 != 198<<16|19<<8 {
		return "-"
	}
	switch a & 7 {
	case 0, 3:
		return "S3"
	case 1:
		return "AMAZON"
	case 2:
		return "DYNAMODB"
	case 5:
		return "EC2"
	}
	return "-"
}
