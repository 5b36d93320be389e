#!/bin/sh
# wget, one process a call: `wget.sh MODEL...`; environment as in common.py. It uses GnuTLS where its distribution is
# Debian. CLIENT_API may also be `messages`.
case "${CLIENT_API:-chat}" in
  responses) path=/v1/responses ;;
  messages) path=/v1/messages ;;
  *) path=/v1/chat/completions ;;
esac
for model in "$@"; do
  body="{\"model\": \"$model\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, \"max_tokens\": 1024,
    \"input\": \"${CLIENT_PROMPT:-Tell me about rivers.}\",
    \"messages\": [{\"role\": \"user\", \"content\": \"${CLIENT_PROMPT:-Tell me about rivers.}\"}]}"
  wget -q -O /dev/null --tries=1 --no-config ${SSL_CERT_FILE:+"--ca-certificate=$SSL_CERT_FILE"} \
    --header='content-type: application/json' --header="authorization: Bearer ${CLIENT_SECRET:-sk-test-not-a-secret}" \
    --post-data="$body" "$BASE_URL$path" &
  echo "{\"begin\": \"$model\", \"pid\": $!}"
  wait $!
  status=$?
  # 8: the server answered with an error, as the test may want.
  if [ $status = 0 ] || [ $status = 8 ]; then error=null; else error="\"wget exit $status\""; fi
  echo "{\"end\": \"$model\", \"chars\": null, \"error\": $error, \"seconds\": null}"
done
