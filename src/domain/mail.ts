/** The e-mail of a notice as HTML and as text: pure, so that a preview shows what will be sent, byte for byte. */
import type { NoticeData, NoticeKind } from './notice.ts'
import { wordsOf } from './notice-words.ts'

export interface Mail {
  subject: string
  text: string
  html: string
}

/**
 * Makes the e-mail of a notice.
 * @param product what the customer knows it by
 */
export function mailOf<Kind extends NoticeKind>(
  { kind, data }: { kind: Kind; data: NoticeData[Kind] },
  product: string,
): Mail {
  const { subject, lines, action } = wordsOf(kind, data)
  const why = `You get this because you have an account with ${product}.`
  const link = action === undefined ? [] : [`${action.label}: ${action.url}`]
  return {
    subject: `${subject} · ${product}`,
    text: `${[product, ...lines, ...link].join('\n\n')}\n\n-- \n${why}\n`,
    html: page(subject, product, [
      ...lines.map((line) => `<p style="margin:0 0 16px">${escape(line)}</p>`),
      ...(action === undefined ? [] : [button(action)]),
      `<p style="margin:32px 0 0;font-size:13px;color:#5b6470">${escape(why)}</p>`,
    ]),
  }
}

/** Tables and inline styles: mail programs know little else. */
function page(subject: string, product: string, content: string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(subject)}</title>
</head>
<body style="margin:0;padding:0;background:#f3f4f6">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f4f6">
<tr><td align="center" style="padding:32px 16px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;background:#ffffff;border-radius:8px">
<tr><td style="padding:32px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#1d2430">
<p style="margin:0 0 24px;font-size:14px;font-weight:600;color:#5b6470">${escape(product)}</p>
<h1 style="margin:0 0 16px;font-size:22px;line-height:1.3">${escape(subject)}</h1>
${content.join('\n')}
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
`
}

function button({ label, url }: { label: string; url: string }): string {
  return `<p style="margin:24px 0 0"><a href="${escape(url)}" style="display:inline-block;padding:12px 20px;border-radius:6px;background:#1f5eff;color:#ffffff;text-decoration:none;font-weight:600">${escape(label)}</a></p>`
}

const ESCAPED: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** For text and for attributes in quotes. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (found) => ESCAPED[found] ?? '')
}
