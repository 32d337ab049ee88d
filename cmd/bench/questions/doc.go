// Package questions answers three questions about a flow log, and one that
// groups all of it, in one pass over the records of package ingest. It is one
// side of a benchmark: a database answers the same in SQL, and the answers
// are compared byte for byte.
//
// Records of a log status other than OK count in Decode alone. Below, a
// record is one of status OK; such a record has all fields of the default
// format. An interface ID that is "-" is written so.
//
// # Ask
//
// sessions.csv: who talked around FTP. An FTP pair is two hosts between which
// a TCP record, of either direction, has srcport or dstport 21 or 990. The
// pair's first time is the least start of these records. The answer is every
// TCP record between the two hosts of an FTP pair, of either direction, with
// end >= first time - 900, aggregated:
//
//	interface_id,srcaddr,dstaddr,srcport,dstport,action,records,packets,bytes,start,end
//
// with records the count, packets and bytes the sums, start the least start
// and end the greatest end.
//
// rejects.csv: what was refused, from the records of action REJECT:
//
//	interface_id,dstport,protocol,records,packets,bytes
//
// demand.csv: which ports each subnet uses, from the records of TCP and UDP
// of action ACCEPT. The subnet is the one that the file of subnets (CSV with
// the header interface_id,subnet_id) has for the record's interface, and
// empty for an interface that it does not have:
//
//	subnet_id,protocol,dstport,records
//
// Each file has its header line, comma between cells, no quotes, a line feed
// after each row, and for an empty value nothing at all. protocol is its
// number, times are Unix seconds, addresses are text as in flow logs. Rows
// are sorted by all columns in front of records: text by its bytes, numbers
// by value.
//
// # Aggregate
//
// All records, grouped by interface_id, srcaddr, dstaddr, srcport, dstport,
// protocol, action, with records, packets, bytes, start and end as above.
// The groups can be millions, so one line tells of them:
//
//	rows 2 records 3 packets 36 bytes 2136 checksum 1234
//
// The checksum adds up, over the groups, modulo 2^61-1 =
// 2305843009213693951,
//
//	records*packets + packets*bytes + start*records
//	  + (end-start+1) * (srcport*65536+dstport+1) * (protocol+1)
//
// where all products and sums are exact (HUGEINT is wide enough in SQL). It
// does not depend on the order of groups, and products of two sums differ
// when records are grouped wrongly even where all totals agree.
//
// # Decode
//
// Every record, of any status, is decoded as for Ask and counted:
//
//	records 3
package questions
