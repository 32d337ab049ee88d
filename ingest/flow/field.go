package flow

// Field is a field of VPC flow log records, versions 2 to 11.
type Field uint8

// The fields, in AWS's order.
const (
	FieldVersion Field = iota
	FieldAccountID
	FieldInterfaceID
	FieldSrcAddr
	FieldDstAddr
	FieldSrcPort
	FieldDstPort
	FieldProtocol
	FieldPackets
	FieldBytes
	FieldStart
	FieldEnd
	FieldAction
	FieldLogStatus
	FieldVPCID
	FieldSubnetID
	FieldInstanceID
	FieldTCPFlags
	FieldType
	FieldPktSrcAddr
	FieldPktDstAddr
	FieldRegion
	FieldAZID
	FieldSublocationType
	FieldSublocationID
	FieldPktSrcAWSService
	FieldPktDstAWSService
	FieldFlowDirection
	FieldTrafficPath
	FieldECSClusterARN
	FieldECSClusterName
	FieldECSContainerInstanceARN
	FieldECSContainerInstanceID
	FieldECSContainerID
	FieldECSSecondContainerID
	FieldECSServiceName
	FieldECSTaskDefinitionARN
	FieldECSTaskARN
	FieldECSTaskID
	FieldRejectReason
	FieldResourceID
	FieldEncryptionStatus
	FieldInstanceTag
	FieldInstanceTag2
	FieldInterfaceTag
	FieldInterfaceTag2
	FieldASGTag
	FieldASGTag2
	FieldInterfaceType
	FieldNextHopInterfaceID
	FieldNextHopSubnetID
	FieldNextHopAZID
	FieldNextHopVPCID
	FieldNextHopInterfaceType
	numFields
)

// NumFields is how many fields there are; each is below it.
const NumFields = int(numFields)

// FieldSet is a set of fields.
type FieldSet uint64

// Fields returns the set of the given fields.
func Fields(f ...Field) FieldSet {
	var s FieldSet
	for _, x := range f {
		s |= 1 << x
	}
	return s
}

// AllFields is the set of every field this package knows.
const AllFields FieldSet = 1<<numFields - 1

// Has reports whether f is in the set.
func (s FieldSet) Has(f Field) bool { return s>>f&1 == 1 }

// fieldTable gives each field's AWS name and the version of the record
// format that introduced it. It is the one place where AWS's names stand.
// Source: VPC User Guide, "Flow log records"; versions 8 to 11 from the
// console's ordered list.
var fieldTable = [numFields]struct {
	name    string
	version uint8
}{
	FieldVersion: {"version", 2}, FieldAccountID: {"account-id", 2}, FieldInterfaceID: {"interface-id", 2},
	FieldSrcAddr: {"srcaddr", 2}, FieldDstAddr: {"dstaddr", 2}, FieldSrcPort: {"srcport", 2}, FieldDstPort: {"dstport", 2},
	FieldProtocol: {"protocol", 2}, FieldPackets: {"packets", 2}, FieldBytes: {"bytes", 2},
	FieldStart: {"start", 2}, FieldEnd: {"end", 2}, FieldAction: {"action", 2}, FieldLogStatus: {"log-status", 2},

	FieldVPCID: {"vpc-id", 3}, FieldSubnetID: {"subnet-id", 3}, FieldInstanceID: {"instance-id", 3},
	FieldTCPFlags: {"tcp-flags", 3}, FieldType: {"type", 3}, FieldPktSrcAddr: {"pkt-srcaddr", 3}, FieldPktDstAddr: {"pkt-dstaddr", 3},

	FieldRegion: {"region", 4}, FieldAZID: {"az-id", 4}, FieldSublocationType: {"sublocation-type", 4}, FieldSublocationID: {"sublocation-id", 4},

	FieldPktSrcAWSService: {"pkt-src-aws-service", 5}, FieldPktDstAWSService: {"pkt-dst-aws-service", 5},
	FieldFlowDirection: {"flow-direction", 5}, FieldTrafficPath: {"traffic-path", 5},

	FieldECSClusterARN: {"ecs-cluster-arn", 7}, FieldECSClusterName: {"ecs-cluster-name", 7},
	FieldECSContainerInstanceARN: {"ecs-container-instance-arn", 7}, FieldECSContainerInstanceID: {"ecs-container-instance-id", 7},
	FieldECSContainerID: {"ecs-container-id", 7}, FieldECSSecondContainerID: {"ecs-second-container-id", 7},
	FieldECSServiceName: {"ecs-service-name", 7}, FieldECSTaskDefinitionARN: {"ecs-task-definition-arn", 7},
	FieldECSTaskARN: {"ecs-task-arn", 7}, FieldECSTaskID: {"ecs-task-id", 7},

	FieldRejectReason: {"reject-reason", 8}, FieldResourceID: {"resource-id", 9}, FieldEncryptionStatus: {"encryption-status", 10},

	FieldInstanceTag: {"instance-tag", 11}, FieldInstanceTag2: {"instance-tag-2", 11},
	FieldInterfaceTag: {"interface-tag", 11}, FieldInterfaceTag2: {"interface-tag-2", 11},
	FieldASGTag: {"asg-tag", 11}, FieldASGTag2: {"asg-tag-2", 11}, FieldInterfaceType: {"interface-type", 11},
	FieldNextHopInterfaceID: {"next-hop-interface-id", 11}, FieldNextHopSubnetID: {"next-hop-subnet-id", 11},
	FieldNextHopAZID: {"next-hop-az-id", 11}, FieldNextHopVPCID: {"next-hop-vpc-id", 11},
	FieldNextHopInterfaceType: {"next-hop-interface-type", 11},
}

// Name returns the field's AWS name, such as "pkt-srcaddr".
func (f Field) Name() string { return fieldTable[f].name }

// Version returns the version of the record format that introduced f.
func (f Field) Version() uint8 { return fieldTable[f].version }

// FieldNamed finds a field by its AWS name. Parquet and Athena write
// underscores for hyphens; both are understood.
func FieldNamed(name string) (Field, bool) {
	f, ok := byName[hyphens(name)]
	return f, ok
}

var byName = func() map[string]Field {
	m := make(map[string]Field, numFields)
	for f := range numFields {
		m[fieldTable[f].name] = f
	}
	return m
}()

func hyphens(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == '_' {
			b[i] = '-'
		}
	}
	return string(b)
}
