package questions

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// writeLogs writes records as AWS does, into objects of the five minutes that
// they end in, and returns their directory.
func writeLogs(t *testing.T, records []flow.Record, suffix string, encode func([]flow.Record) ([]byte, error)) string {
	t.Helper()
	objects := map[string][]flow.Record{}
	for i := range records {
		begins := time.Unix(records[i].End/300*300, 0).UTC().Format("20060102T1504Z")
		name := fmt.Sprintf("123456789012_vpcflowlogs_us-east-1_fl-0a1_%s_%08x%s", begins, i%2, suffix)
		objects[name] = append(objects[name], records[i])
	}
	dir := t.TempDir()
	for name, object := range objects {
		b, err := encode(object)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func encodeText(records []flow.Record) ([]byte, error) {
	format, err := ingest.ParseFormat("default")
	if err != nil {
		return nil, err
	}
	out := []byte("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n")
	for i := range records {
		out = append(format.AppendRecord(out, &records[i]), '\n')
	}
	return out, nil
}

func encodeGzip(records []flow.Record) ([]byte, error) {
	plain, err := encodeText(records)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// parquetRow is the default format with the types that the VPC User Guide
// gives for Parquet.
type parquetRow struct {
	Interface string `parquet:"interface_id"`
	Src       string `parquet:"srcaddr"`
	Dst       string `parquet:"dstaddr"`
	SrcPort   *int32 `parquet:"srcport,optional"`
	DstPort   *int32 `parquet:"dstport,optional"`
	Proto     *int32 `parquet:"protocol,optional"`
	Packets   *int64 `parquet:"packets,optional"`
	Bytes     *int64 `parquet:"bytes,optional"`
	Start     *int64 `parquet:"start,optional"`
	End       *int64 `parquet:"end,optional"`
	Action    string `parquet:"action"`
	Status    string `parquet:"log_status"`
}

func newParquetRow(r *flow.Record) parquetRow {
	row := parquetRow{
		Interface: interfaceID(r), Src: r.Src.String(), Dst: r.Dst.String(),
		Start: &r.Start, End: &r.End, Action: r.Action.String(), Status: r.Status.String(),
	}
	if r.Status == flow.OK {
		src, dst, proto := int32(r.SrcPort), int32(r.DstPort), int32(r.Proto)
		packets, octets := int64(r.Packets), int64(r.Bytes)
		row.SrcPort, row.DstPort, row.Proto, row.Packets, row.Bytes = &src, &dst, &proto, &packets, &octets
	}
	return row
}

func encodeParquet(records []flow.Record) ([]byte, error) {
	var out bytes.Buffer
	w := parquet.NewGenericWriter[parquetRow](&out, parquet.Compression(&parquet.Gzip))
	for i := range records {
		if _, err := w.Write([]parquetRow{newParquetRow(&records[i])}); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// TestRunFormats runs all modes over files: the same answers for each format
// and any number of jobs.
func TestRunFormats(t *testing.T) {
	records := newWorld(11, 30, 4*3600, 60).records(20_000)
	subnets := writeSubnets(t)
	for _, c := range []struct {
		name, suffix string
		encode       func([]flow.Record) ([]byte, error)
	}{
		{"text", ".log", encodeText},
		{"gzip", ".log.gz", encodeGzip},
		{"Parquet", ".log.parquet", encodeParquet},
	} {
		logs := writeLogs(t, records, c.suffix, c.encode)
		for _, jobs := range []int{0, 1, 2, 5} {
			t.Run(fmt.Sprintf("%s/%d", c.name, jobs), func(t *testing.T) {
				o := Options{Logs: logs, Subnets: subnets, Jobs: jobs, Out: filepath.Join(t.TempDir(), "new")}
				if err := Run(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				checkAnswers(t, o.Out, records)
				checkPrinted(t, o, Aggregate, wantAggregate(records))
				checkPrinted(t, o, Decode, fmt.Sprintf("records %d\n", len(records)))
			})
		}
	}
}

func checkPrinted(t *testing.T, o Options, mode Mode, want string) {
	t.Helper()
	var got bytes.Buffer
	o.Mode, o.Stdout = mode, &got
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestRunErrors(t *testing.T) {
	good := writeLogs(t, newWorld(1, 5, 60, 60).records(10), ".log", encodeText)
	bad := filepath.Join(t.TempDir(), "bad.log")
	text, err := encodeText(newWorld(1, 5, 60, 60).records(3))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, append(text, "2 short line\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	subnets := writeSubnets(t)
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"no logs", Options{Logs: filepath.Join(good, "none"), Subnets: subnets, Out: t.TempDir()}, "no such file"},
		{"bad line", Options{Logs: bad, Subnets: subnets, Out: t.TempDir()}, "bad.log: line 5"},
		{"bad line, aggregated", Options{Logs: bad, Mode: Aggregate}, "bad.log: line 5"},
		{"bad line, decoded", Options{Logs: bad, Mode: Decode}, "bad.log: line 5"},
		{"no subnets", Options{Logs: good, Out: t.TempDir()}, "interface_id,subnet_id"},
		{"subnets without a header", Options{Logs: good, Subnets: bad, Out: t.TempDir()}, "bad.log"},
		{"nowhere to write", Options{Logs: good, Subnets: subnets}, "no directory"},
		{"a file to write into", Options{Logs: good, Subnets: subnets, Out: bad}, "bad.log"},
		{"no mode", Options{Logs: good, Mode: 7}, "mode 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Run(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}
