package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// What was tried, measured in CPU time of two threads on a million records
// (of 29 objects) of default text, each with the same answers:
//
//	ask: scan the logs for each question                     5.2 s
//	     load a table, all text as VARCHAR                   2.5 s
//	     load a table, CSV columns declared as ENUM          2.3 s
//	     load a table, VARCHAR cast to ENUM by the query     2.0 s, taken
//	aggregate: scan, VARCHAR keys                            1.7 s
//	     scan, CSV columns declared as ENUM                  1.5 s
//	     scan, interface_id and action cast to ENUM          1.4 s, taken
//	     load a table, group that                            2.0 s
//	load: quote and escape '' or '"', strict_mode, new_line, buffers of 4 and
//	     33 MB, all numbers as BIGINT, all text with casts behind the filter:
//	     within the noise of each other, or worse
//
// The join of sessions on least and greatest of both addresses took a tenth
// longer than one with the pairs both ways round; counting the demand by
// interface before the join with subnets, a twentieth longer than behind it;
// a materialized list of pairs, and a filter srcaddr IN pairs besides, nothing.
// On Parquet, ask by scanning for each question took 1.4 s, against 1.5 s
// from a table with ENUM and 1.7 s from one with VARCHAR.
// The ENUM of interfaces costs nothing to know: the file of subnets has them.

// script returns the statements that answer a question.
func (o *options) script(question string) (string, error) {
	scan, err := o.scan()
	if err != nil {
		return "", err
	}
	s := strings.NewReplacer("$threads", fmt.Sprint(o.threads), "$subnets", quoted(o.subnets), "$scan", scan,
		"$sessions", quoted(filepath.Join(o.out, "sessions.csv")),
		"$rejects", quoted(filepath.Join(o.out, "rejects.csv")),
		"$demand", quoted(filepath.Join(o.out, "demand.csv")))
	switch {
	case question == "aggregate":
		return s.Replace(settings + logsView + aggregate), nil
	case question == "all":
		return s.Replace(settings + logsTable + ask + aggregate), nil
	case question != "ask":
		return "", fmt.Errorf("%q is no question; %s", question, usage)
	case o.format == "parquet":
		return s.Replace(settings + logsAsTheyAre + ask), nil
	}
	return s.Replace(settings + logsTable + ask), nil
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// scan is the table function that reads the logs.
func (o *options) scan() (string, error) {
	switch o.format {
	case "parquet":
		return fmt.Sprintf("read_parquet(%s)", quoted(filepath.Join(o.logs, "**", "*.log.parquet"))), nil
	case "default", "custom29":
		columns := defaultColumns
		if o.format == "custom29" {
			columns += customColumns
		}
		return fmt.Sprintf(`read_csv(%s, columns={%s}, delim=' ', header=true, nullstr='-', auto_detect=false,
			compression='gzip', quote='', escape='')`, quoted(filepath.Join(o.logs, "**", "*.log.gz")), columns), nil
	}
	return "", fmt.Errorf("%q is no format; give default, custom29 or parquet", o.format)
}

// The columns of text, with the narrowest types that hold them.
const (
	defaultColumns = `version: 'UTINYINT', account_id: 'VARCHAR', interface_id: 'VARCHAR', srcaddr: 'VARCHAR', dstaddr: 'VARCHAR',
		srcport: 'USMALLINT', dstport: 'USMALLINT', protocol: 'UTINYINT', packets: 'UINTEGER', bytes: 'UBIGINT',
		"start": 'UINTEGER', "end": 'UINTEGER', action: 'VARCHAR', log_status: 'VARCHAR'`
	customColumns = `, vpc_id: 'VARCHAR', subnet_id: 'VARCHAR', instance_id: 'VARCHAR', tcp_flags: 'UTINYINT', type: 'VARCHAR',
		pkt_srcaddr: 'VARCHAR', pkt_dstaddr: 'VARCHAR', region: 'VARCHAR', az_id: 'VARCHAR', sublocation_type: 'VARCHAR',
		sublocation_id: 'VARCHAR', pkt_src_aws_service: 'VARCHAR', pkt_dst_aws_service: 'VARCHAR', flow_direction: 'VARCHAR',
		traffic_path: 'UTINYINT'`
)

const settings = `
SET threads = $threads;
SET preserve_insertion_order = false;
SET enable_progress_bar = false;
SET default_null_order = 'nulls_first';
CREATE TABLE subnets AS SELECT interface_id, subnet_id
FROM read_csv($subnets, columns={interface_id: 'VARCHAR', subnet_id: 'VARCHAR'}, delim=',', header=true, auto_detect=false);
CREATE TYPE interface AS ENUM (SELECT interface_id FROM subnets ORDER BY interface_id);
CREATE TYPE action AS ENUM ('ACCEPT', 'REJECT');
`

const (
	logsTable = "CREATE TABLE logs AS " + narrow + places
	logsView  = "CREATE VIEW logs AS " + narrow

	narrow = `SELECT interface_id::interface AS interface_id, srcaddr, dstaddr, srcport, dstport, protocol, packets, bytes,
	"start", "end", action::action AS action
FROM $scan WHERE log_status = 'OK';
`
	places = "CREATE TABLE places AS SELECT interface_id::interface AS interface_id, subnet_id FROM subnets;\n"

	logsAsTheyAre = "CREATE VIEW logs AS SELECT * FROM $scan WHERE log_status = 'OK';\nCREATE VIEW places AS SELECT * FROM subnets;\n"
)

// ask is the three questions.
const ask = `
COPY (
	WITH pairs AS (
		SELECT least(srcaddr, dstaddr) AS a, greatest(srcaddr, dstaddr) AS b, min("start")::BIGINT - 900 AS since
		FROM logs WHERE protocol = 6 AND (srcport IN (21, 990) OR dstport IN (21, 990)) GROUP BY ALL)
	SELECT interface_id, srcaddr, dstaddr, srcport, dstport, action, count(*) AS records,
		sum(packets)::UBIGINT AS packets, sum(bytes)::UBIGINT AS bytes, min("start") AS "start", max("end") AS "end"
	FROM logs JOIN (SELECT a, b, since FROM pairs UNION ALL SELECT b, a, since FROM pairs WHERE a <> b) ON srcaddr = a AND dstaddr = b
	WHERE protocol = 6 AND "end" >= since
	GROUP BY ALL ORDER BY interface_id, srcaddr, dstaddr, srcport, dstport, action
) TO $sessions (FORMAT csv, HEADER, DELIMITER ',');
COPY (
	SELECT interface_id, dstport, protocol, count(*) AS records, sum(packets)::UBIGINT AS packets, sum(bytes)::UBIGINT AS bytes
	FROM logs WHERE action = 'REJECT'
	GROUP BY ALL ORDER BY interface_id, dstport, protocol
) TO $rejects (FORMAT csv, HEADER, DELIMITER ',');
COPY (
	SELECT places.subnet_id, protocol, dstport, count(*) AS records
	FROM logs LEFT JOIN places USING (interface_id) WHERE action = 'ACCEPT' AND protocol IN (6, 17)
	GROUP BY ALL ORDER BY subnet_id, protocol, dstport
) TO $demand (FORMAT csv, HEADER, DELIMITER ',');
`

// aggregate is the groups of all records, and what they come to. Only one of
// the products needs more than 64 bits.
const aggregate = `
SELECT format('rows {} records {} packets {} bytes {} checksum {}', count(*), sum(records), sum(packets), sum(bytes),
	sum(records * packets + packets::HUGEINT * bytes + "start" * records
		+ ("end" - "start" + 1) * (srcport * 65536::BIGINT + dstport + 1) * (protocol + 1)) % 2305843009213693951)
FROM (
	SELECT count(*) AS records, sum(packets)::BIGINT AS packets, sum(bytes)::BIGINT AS bytes,
		min("start")::BIGINT AS "start", max("end")::BIGINT AS "end", srcport, dstport, protocol
	FROM logs GROUP BY interface_id, srcaddr, dstaddr, srcport, dstport, protocol, action);
`
