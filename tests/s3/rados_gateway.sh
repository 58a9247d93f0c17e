#!/usr/bin/env bash
# Ceph's RADOS gateway with its disk in memory: a server of S3's API for tests, on loopback alone.
#   apt-get install radosgw ceph-mon ceph-osd ceph-common
#   rados_gateway.sh DIRECTORY PORT COMMAND…   runs the command with a bucket in SPANLOOP_TEST_STORE, then ends all of it
set -euo pipefail
directory=$1 port=$2
shift 2
mkdir -p "$directory"/{mon,osd,run}
fsid=$(cat /proc/sys/kernel/random/uuid)
disk=$(cat /proc/sys/kernel/random/uuid)
monitor="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"
export CEPH_CONF=$directory/ceph.conf
cat > "$CEPH_CONF" << CONF
[global]
fsid = $fsid
mon host = $monitor
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
osd objectstore = memstore
mon data = $directory/mon
osd data = $directory/osd
run dir = $directory/run
admin socket = $directory/run/\$name.asok
log file = $directory/\$name.log
pid file = $directory/run/\$name.pid
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 16
CONF
servers=()
trap 'kill "${servers[@]}" 2> /dev/null || true; wait' EXIT
monmaptool --create --addv a "$monitor" --fsid "$fsid" "$directory/monmap" > /dev/null
ceph-mon -i a --mkfs --monmap "$directory/monmap"
ceph-mon -i a -f > "$directory/mon.out" 2>&1 & servers+=($!)
timeout 120 ceph osd new "$disk" 0 > /dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$disk" > "$directory/osd-mkfs.out" 2>&1
ceph-osd -i 0 -f > "$directory/osd.out" 2>&1 & servers+=($!)
timeout 300 radosgw-admin -n client.rgw user create --uid test --display-name test --access-key test --secret-key testtest \
  > "$directory/user.out" 2>&1
gateway() { # again whenever it ends, since tests kill it
  trap 'kill "$serving" 2> /dev/null; exit' TERM
  while true; do
    radosgw -n client.rgw -f >> "$directory/rgw.out" 2>&1 & serving=$!
    echo "$serving" > "$TEST_GATEWAY_PID_FILE.new" && mv "$TEST_GATEWAY_PID_FILE.new" "$TEST_GATEWAY_PID_FILE"
    wait "$serving" || true
  done
}
export TEST_GATEWAY_PID_FILE=$directory/run/serving.pid
gateway & servers+=($!)
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest AWS_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:$port
empty=$(sha256sum < /dev/null)
# curl before 8 signs this header, which the gateway asks for, only where it is named
curl --silent --show-error --fail --retry 120 --retry-delay 1 --retry-connrefused --output /dev/null \
  --aws-sigv4 aws:amz:us-east-1:s3 --user test:testtest --header "x-amz-content-sha256: ${empty%% *}" \
  --request PUT "$AWS_ENDPOINT_URL/spanloop-test"
SPANLOOP_TEST_STORE=s3://spanloop-test "$@"
