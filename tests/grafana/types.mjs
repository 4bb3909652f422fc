// Type-checks dashboards against npm's @grafana/schema, panels' options and field configurations against those of
// their kind: node types.mjs NODE_MODULES WORK FILE…
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const [modules, work, ...files] = process.argv.slice(2);
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
symlinkSync(path.resolve(modules), path.join(work, 'node_modules'));

const root = path.join(work, 'node_modules/@grafana/schema/dist/types/raw/composable');
const kinds = { timeseries: 'timeseries', stat: 'stat', 'state-timeline': 'statetimeline', heatmap: 'heatmap', table: 'table' };
// JSON has strings where TypeScript has enums of strings.
const PLAIN = `
export type Plain<T> = T extends string ? \`\${T}\` : T extends number | boolean | null | undefined ? T
  : T extends (infer E)[] ? Plain<E>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
`;
let text = `import type { Dashboard } from '@grafana/schema';\n`;
const known = new Map();
for (const [kind, name] of Object.entries(kinds)) {
  const at = path.join(root, name, 'panelcfg/x');
  const found = existsSync(at) && execFileSync('ls', [at], { encoding: 'utf8' }).split('\n').find((file) => file.endsWith('.gen.d.ts'));
  if (!found) throw new Error(`no types of ${kind} panels in ${at}`);
  const declared = readFileSync(path.join(at, found), 'utf8');
  const parts = ['Options', 'FieldConfig'].filter((part) => new RegExp(`export (interface|type) ${part}\\b`).test(declared));
  const module = path.relative(work, path.join(at, found)).replace(/\.d\.ts$/, '');
  const alias = name.replaceAll('-', '');
  for (const part of parts) text += `import type { ${part} as ${alias}${part} } from './${module}';\n`;
  known.set(kind, { alias, parts });
}
text += PLAIN;
// Fields that Grafana reads and its schema leaves to the data source or lacks.
const annotation = ['expr', 'step', 'tagKeys', 'textFormat', 'titleFormat', 'useValueForTime'];
const without = (value, fields) => Object.fromEntries(Object.entries(value).filter(([key]) => !fields.includes(key)));
const strip = (dashboard) => ({
  ...dashboard,
  annotations: { list: dashboard.annotations.list.map((one) => without(one, annotation)) },
  templating: { list: dashboard.templating.list.map((one) => without(one, ['definition'])) },
});
let number = 0;
const emit = (type, value) => { text += `export const v${number++}: ${type} = ${JSON.stringify(value, null, 1)};\n`; };
let panels = 0;
for (const file of files) {
  text += `// ${file}\n`;
  const dashboard = JSON.parse(readFileSync(file, 'utf8'));
  emit('Plain<Dashboard>', strip(dashboard));
  for (const panel of dashboard.panels.flatMap((panel) => (panel.type === 'row' ? panel.panels : [panel]))) {
    const kind = known.get(panel.type);
    if (!kind) throw new Error(`${file}: nobody knows what a ${panel.type} panel is`);
    panels += 1;
    if (kind.parts.includes('Options')) emit(`Plain<${kind.alias}Options>`, panel.options);
    if (kind.parts.includes('FieldConfig')) emit(`Plain<${kind.alias}FieldConfig>`, panel.fieldConfig.defaults.custom);
  }
}
writeFileSync(path.join(work, 'check.ts'), text);
const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022', '--preserveSymlinks'];
try {
  execFileSync('node', [path.join(modules, 'typescript/bin/tsc'), ...flags, path.join(work, 'check.ts')], { encoding: 'utf8', stdio: 'pipe' });
  console.log(`${files.length} dashboards, ${panels} panels have the types of @grafana/schema`);
} catch (failed) {
  console.error(`${failed.stdout ?? ''}${failed.stderr ?? ''}`.split('\n').slice(0, 30).join('\n'));
  process.exit(1);
}
