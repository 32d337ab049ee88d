"""Writes the files of this folder from the logs beside it. See README.md."""

import base64

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

NUMBERS32 = {"version", "srcport", "dstport", "protocol", "tcp-flags", "traffic-path"}
NUMBERS64 = {"packets", "bytes", "start", "end"}


def read(name):
    """Returns the names of a log and its columns, None for "-"."""
    lines = open(f"../{name}").read().splitlines()
    names = lines[0].split()
    rows = [line.split() for line in lines[1:]]
    return names, {n: [None if r[i] == "-" else r[i] for r in rows] for i, n in enumerate(names)}


def column(name, values):
    """Returns a column of the type that AWS documents; strings keep "-"."""
    if name in NUMBERS32 or name in NUMBERS64:
        typ = pa.int32() if name in NUMBERS32 else pa.int64()
        return pa.array([None if v is None else int(v) for v in values], typ)
    return pa.array(["-" if v is None else v for v in values], pa.string())


def table(name):
    names, columns = read(name)
    return pa.table({n.replace("-", "_"): column(n, columns[n]) for n in names})


# As AWS writes them, as far as that is documented: gzip, names with underscores.
pq.write_table(table("v5-reordered.log"), "v5-aws.parquet", compression="gzip")
pq.write_table(table("v11-alphabetical.log"), "v11-aws.parquet", compression="gzip")

# Other encodings, pages and codecs.
t = table("v2.log")
delta = {c: "DELTA_BINARY_PACKED" if pa.types.is_integer(t.schema.field(c).type) else "DELTA_BYTE_ARRAY" for c in t.column_names}
delta["interface_id"] = "DELTA_LENGTH_BYTE_ARRAY"
pq.write_table(t, "v2-delta.parquet", compression="zstd", data_page_version="2.0", use_dictionary=False, column_encoding=delta,
               write_page_checksum=True)
split = {c: "BYTE_STREAM_SPLIT" for c in t.column_names if pa.types.is_integer(t.schema.field(c).type)}
pq.write_table(t, "v2-split.parquet", compression="lz4", use_dictionary=False, column_encoding=split, row_group_size=3)
pq.write_table(t, "v2-brotli.parquet", compression="brotli", data_page_version="2.0", write_page_index=True)

# What pandas makes of numbers that are missing, of strings that are, and of times.
frame = t.to_pandas().replace({"-": "None"})
frame["start"] = pd.to_datetime(frame["start"], unit="s")
frame["end"] = pd.to_datetime(frame["end"], unit="s")
assert frame["srcport"].dtype == "float64"
frame.to_parquet("v2-pandas.parquet")
frame.to_parquet("v2-int96.parquet", use_deprecated_int96_timestamps=True, compression=None)

# DuckDB, with hyphens, NULL, and unsigned numbers.
names, columns = read("v11-alphabetical.log")
unsigned = {"srcport": "USMALLINT", "dstport": "USMALLINT", "protocol": "UTINYINT", "bytes": "UBIGINT", "packets": "UINTEGER",
            "start": "TIMESTAMP", "end": "TIMESTAMP_MS", "version": "TINYINT"}
raw = pa.table({n: pa.array(columns[n], pa.string()) for n in names})


def cast(n):
    if n in ("start", "end"):
        return f'CAST(to_timestamp(CAST("{n}" AS BIGINT)) AT TIME ZONE \'UTC\' AS {unsigned[n]}) AS "{n}"'
    return f'CAST("{n}" AS {unsigned.get(n, "VARCHAR")}) AS "{n}"'


duckdb.sql(f"COPY (SELECT {', '.join(map(cast, names))} FROM raw) TO 'v11-duckdb.parquet' (FORMAT parquet, COMPRESSION zstd)")

# A dictionary that overflows into plain pages, in several row groups.
n = 700
many = pa.table({
    "srcaddr": [f"10.1.{i // 256}.{i % 256}" for i in range(n)],
    "dstaddr": ["203.0.113.10"] * n,
    "srcport": pa.array([i if i % 7 else None for i in range(n)], pa.int32()),
    "start": pa.array([1795370000 + i for i in range(n)], pa.int64()),
    "end": pa.array([1795370000 + i for i in range(n)], pa.int64()),
    "protocol": pa.array([6] * n, pa.int32()),
})
pq.write_table(many, "overflow.parquet", compression="snappy", row_group_size=300, dictionary_pagesize_limit=512,
               data_page_size=256, write_batch_size=32)


# Encrypted ones: the footer too, or the columns alone.
class Keys(pe.KmsClient):
    def __init__(self, _):
        pe.KmsClient.__init__(self)

    def wrap_key(self, key, master):
        return base64.b64encode(key)

    def unwrap_key(self, key, master):
        return base64.b64decode(key)


for name, plain in ("encrypted-footer", False), ("encrypted-columns", True):
    config = pe.EncryptionConfiguration(footer_key="k", column_keys={"k": ["srcaddr"]}, plaintext_footer=plain)
    properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(f"{name}.parquet", t.schema, encryption_properties=properties) as w:
        w.write_table(t)

# Security Lake. The rows are those of v5-reordered.log, mapped as github.com/ocsf/examples says.
BOUNDARIES = {str(i): i + 3 for i in range(1, 9)}


def event(r, version):
    ingress, egress = r["flow-direction"] == "ingress", r["flow-direction"] == "egress"
    number = lambda name: None if r[name] is None else int(r[name])
    dashed = lambda v: "-" if v is None else v

    def endpoint(side, here):
        header, addr = r[f"pkt-{side}addr"], r[f"{side}addr"]
        e = {"port": number(f"{side}port"), "svc_name": dashed(r[f"pkt-{side}-aws-service"]), "ip": dashed(header),
             "intermediate_ips": [addr] if addr != header else None}
        for o, name in ("interface_uid", "interface-id"), ("vpc_uid", "vpc-id"), ("instance_uid", "instance-id"), ("subnet_uid", "subnet-id"):
            e[o] = dashed(r[name]) if here else None
        return e

    accept = {"ACCEPT": True, "REJECT": False, None: None}[r["action"]]
    e = {
        "metadata": {"product": {"version": r["version"], "name": "Amazon VPC", "feature": {"name": "Flowlogs"}, "vendor_name": "AWS"},
                     "profiles": ["cloud", "security_control"], "version": "1.0.0-rc.2" if version == 1 else "1.1.0"},
        "cloud": {"region": r["region"], "zone": r["az-id"], "provider": "AWS"},
        "src_endpoint": endpoint("src", not ingress),
        "dst_endpoint": endpoint("dst", ingress),
        "connection_info": {"protocol_num": number("protocol"), "tcp_flags": number("tcp-flags"), "protocol_ver": dashed(r["type"]),
                            "boundary_id": BOUNDARIES.get(r["traffic-path"], 99), "boundary": "-",
                            "direction_id": 1 if ingress else 2 if egress else 0, "direction": "Inbound" if ingress else "Outbound" if egress else "-"},
        "traffic": {"packets": number("packets"), "bytes": number("bytes")},
        "time": int(r["start"]) * 1000,
        "class_uid": 4001, "class_name": "Network Activity", "category_uid": 4, "severity_id": 1,
        "activity_id": {True: 6 if version == 2 else 1, False: 5, None: 0}[accept],
        "type_uid": 400100 + {True: 6 if version == 2 else 1, False: 5, None: 0}[accept],
        "disposition": {True: "Allowed", False: "Blocked", None: None}[accept],
    }
    unmapped = {"sublocation_id": dashed(r["sublocation-id"]), "sublocation_type": dashed(r["sublocation-type"])}
    if version == 1:
        e["cloud"]["account_uid"] = r["account-id"]
        e |= {"start_time": e["time"], "end_time": int(r["end"]) * 1000, "disposition_id": {True: 1, False: 2, None: 0}[accept]}
        unmapped["log_status"] = r["log-status"]
    else:
        e["cloud"]["account"] = {"uid": r["account-id"]}
        e |= {"time_dt": int(r["start"]) * 1000000, "start_time_dt": int(r["start"]) * 1000000, "end_time_dt": int(r["end"]) * 1000000,
              "status_code": r["log-status"], "action_id": {True: 1, False: 2, None: 0}[accept],
              "action": {True: "Allowed", False: "Denied", None: None}[accept], "accountid": r["account-id"], "region": r["region"]}
    e["unmapped"] = list(unmapped.items())
    return e


def ocsf(version):
    text = pa.string()
    endpoint = pa.struct([("port", pa.int32()), ("svc_name", text), ("ip", text), ("intermediate_ips", pa.list_(text)),
                          ("interface_uid", text), ("vpc_uid", text), ("instance_uid", text), ("subnet_uid", text)])
    cloud = [("region", text), ("zone", text), ("provider", text)]
    cloud.insert(0, ("account_uid", text) if version == 1 else ("account", pa.struct([("uid", text)])))
    fields = [
        ("metadata", pa.struct([("product", pa.struct([("version", text), ("name", text), ("feature", pa.struct([("name", text)])), ("vendor_name", text)])),
                                ("profiles", pa.list_(text)), ("version", text)])),
        ("cloud", pa.struct(cloud)), ("src_endpoint", endpoint), ("dst_endpoint", endpoint),
        ("connection_info", pa.struct([("protocol_num", pa.int32()), ("tcp_flags", pa.int32()), ("protocol_ver", text), ("boundary_id", pa.int32()),
                                       ("boundary", text), ("direction_id", pa.int32()), ("direction", text)])),
        ("traffic", pa.struct([("packets", pa.int64()), ("bytes", pa.int64())])),
        ("time", pa.int64()), ("class_uid", pa.int32()), ("class_name", text), ("category_uid", pa.int32()), ("severity_id", pa.int32()),
        ("activity_id", pa.int32()), ("type_uid", pa.int64()), ("disposition", text), ("unmapped", pa.map_(text, text)),
    ]
    if version == 1:
        fields += [("start_time", pa.int64()), ("end_time", pa.int64()), ("disposition_id", pa.int32())]
    else:
        fields += [(n, pa.timestamp("us", "UTC")) for n in ("time_dt", "start_time_dt", "end_time_dt")]
        fields += [("status_code", text), ("action_id", pa.int32()), ("action", text), ("accountid", text), ("region", text)]
    names, columns = read("v5-reordered.log")
    rows = [dict(zip(names, values)) for values in zip(*(columns[n] for n in names))]
    return pa.Table.from_pylist([event(r, version) for r in rows], pa.schema(fields))


pq.write_table(ocsf(1), "ocsf-1.parquet", compression="gzip")
pq.write_table(ocsf(2), "ocsf-2.parquet", compression="zstd")
