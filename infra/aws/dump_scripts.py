"""What the containers of the dump task run. POSIX shell: the images bring dash, BusyBox or bash.

The archive goes through a file on a volume that the containers share, not through a pipe: a dump that breaks off is
then never taken for a whole one, and the AWS CLI repeats the parts of an upload that fail.
"""

from __future__ import annotations

from typing import Final

STORED: Final = "DumpsStored"
"""1 for each dump that is in the bucket. No value means no dump."""

FOLDER: Final = "/dump"

CERTIFICATES: Final = """\
import os, shutil
os.chmod(os.environ["DUMP_FOLDER"], 0o1777)
source = os.environ.get("PGSSLROOTCERT", "")
if source.startswith("/"):
    shutil.copyfile(source, os.path.join(os.environ["DUMP_FOLDER"], "authorities.pem"))
"""
"""Python, in the application image: it alone has the certificate authorities that the database's certificate is checked
against. As root it opens the folder for the two after it, which are not. Words such as ``system`` are no file and are
left to libpq."""

DUMP: Final = """\
set -eu
umask 077
cd "$DUMP_FOLDER"
case "${PGSSLROOTCERT:-}" in
  /*) PGSSLROOTCERT="$DUMP_FOLDER/authorities.pem"; export PGSSLROOTCERT ;;
esac
started=$(date +%s)
timeout "$DUMP_TIMEOUT" "$@" --lock-wait-timeout=60000 --file=unfinished
pg_restore --list unfinished > contents
mv unfinished archive
printf '{"level":"info","event":"database dumped","bytes":%d,"seconds":%d,"entries":%d}\\n' \\
  "$(wc -c < archive)" "$(($(date +%s) - started))" "$(grep -c '^[0-9]' contents)"
"""
"""In an image with Postgres's tools; the arguments are the dump's command. A dump whose table of contents cannot be
read, or that waits longer than a minute for a lock, fails."""

UPLOAD: Final = """\
set -eu
cd "$DUMP_FOLDER"
bytes=$(wc -c < archive)
key="$DUMP_PREFIX/$(date -u +%Y/%m/%d/%H%M%SZ).dump"
timeout "$DUMP_TIMEOUT" aws s3 cp archive "s3://$DUMP_BUCKET/$key" --only-show-errors
printf '{"_aws":{"Timestamp":%s000,"CloudWatchMetrics":[{"Namespace":"Slipway","Dimensions":[["Stack"]],"Metrics":[' \\
  "$(date +%s)"
printf '{"Name":"DumpsStored","Unit":"Count"},{"Name":"DumpBytes","Unit":"Bytes"}]}]},"Stack":"%s",' "$DUMP_STACK"
printf '"DumpsStored":1,"DumpBytes":%d,"level":"info","event":"dump stored","key":"%s"}\\n' "$bytes" "$key"
"""
"""In an image with the AWS CLI. Its last line is the metric, in CloudWatch's embedded format, and there is none without
an upload that S3 has confirmed with its checksum."""
