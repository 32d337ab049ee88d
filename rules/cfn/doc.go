// Package cfn writes and reads rules as a CloudFormation template in YAML:
// AWS::EC2::NetworkAclEntry, one for each network ACL entry, and
// AWS::EC2::SecurityGroupIngress and -Egress, one for each security group rule.
//
//	err := cfn.Write(w, revision)
//	set, err := cfn.Read(r, "template.yaml")
//
// What Write writes, Read reads back. Of what people write, Read reads literal
// values, in YAML or JSON. It knows neither parameters nor intrinsic functions,
// and says where it meets them.
// Source: CloudFormation Template Reference, the pages of the resource types.
package cfn
